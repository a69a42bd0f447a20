{{/* Checks of values that the schema cannot express. Each message says what to do. */}}
{{- define "assay.refusals" -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- fail (printf "replicas: expected 0 or 1, found %v. Only one Assay process can use a storage directory; several replicas need shared object storage, which this version does not support. Give the pod more resources, or install a second release with its own volume and address." .Values.replicas) -}}
{{- end -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository: expected the repository of your Assay image, such as registry.acme.example/assay. There is no default, because no image is published." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host: expected the host name that clients use, because ingress.enabled is true." -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.server.publicUrl (ne (trimSuffix "/" .Values.server.publicUrl) (printf "https://%s" .Values.ingress.host)) (ne .Values.ingress.host "") -}}
{{- if not (hasPrefix (printf "https://%s:" .Values.ingress.host) .Values.server.publicUrl) -}}
{{- fail (printf "server.publicUrl: expected https://%s/, because that is ingress.host; found %s. Remove server.publicUrl to derive it from the ingress." .Values.ingress.host .Values.server.publicUrl) -}}
{{- end -}}
{{- end -}}
{{- if and (regexMatch "(?m)^[ \\t]*\\[[ \\t]*server[ \\t]*\\.[ \\t]*tls[ \\t]*\\]" .Values.configuration.toml) (not .Values.server.tls.secretName) -}}
{{- fail "server.tls.secretName: expected the Secret with tls.crt and tls.key, because configuration.toml has [server.tls]. Without this value, the probes would use http." -}}
{{- end -}}
{{- if and .Values.policy.existingConfigMap .Values.policy.views -}}
{{- fail "policy.views: expected no views together with policy.existingConfigMap. Add each view's policy to that ConfigMap, under its own key such as strict.toml." -}}
{{- end -}}
{{- if and .Values.certificateAuthority.secretName .Values.certificateAuthority.configMapName -}}
{{- fail "certificateAuthority: expected secretName or configMapName, found both." -}}
{{- end -}}
{{- if and .Values.persistence.enabled (not .Values.persistence.existingClaim) -}}
{{- $cache := addf (include "assay.mebibytes" .Values.storage.blobs | float64) (include "assay.mebibytes" .Values.storage.records | float64) -}}
{{- $volume := include "assay.mebibytes" .Values.persistence.size | float64 -}}
{{- if gt $cache (mulf $volume 0.9) -}}
{{- fail (printf "storage.blobs and storage.records: expected together at most nine tenths of persistence.size (%s), found %s and %s. The ledger, downloads in progress and the file system need the rest; with a full volume, clients get 503." .Values.persistence.size .Values.storage.blobs .Values.storage.records) -}}
{{- end -}}
{{- end -}}
{{- $grace := int .Values.terminationGracePeriodSeconds -}}
{{- if lt $grace (add (int .Values.preStopSeconds) 25 | int) -}}
{{- fail (printf "terminationGracePeriodSeconds: expected at least preStopSeconds + 25, found %d. Assay gives running downloads 20 seconds to finish, and then closes its storage." $grace) -}}
{{- end -}}
{{- end -}}
