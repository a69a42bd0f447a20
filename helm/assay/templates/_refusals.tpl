{{/* What the schema cannot say, and would not work. Each refusal says what to do instead. */}}
{{- define "assay.refusals" -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- fail (printf "replicas: %v is refused. One Assay owns its storage directory, cache and ledger, alone; several replicas need shared object storage, which this version does not have. Give the one pod more resources, or install a second release with a volume and an address of its own." .Values.replicas) -}}
{{- end -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository: expected where your Assay image is, such as registry.acme.example/assay; there is no default, because a guessed registry could be anybody's." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host: expected the host name that clients use, because ingress.enabled is true." -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.server.publicUrl (ne (trimSuffix "/" .Values.server.publicUrl) (printf "https://%s" .Values.ingress.host)) (ne .Values.ingress.host "") -}}
{{- if not (hasPrefix (printf "https://%s:" .Values.ingress.host) .Values.server.publicUrl) -}}
{{- fail (printf "server.publicUrl: expected https://%s/, because that is ingress.host; found %s. Leave it out, and it is derived." .Values.ingress.host .Values.server.publicUrl) -}}
{{- end -}}
{{- end -}}
{{- if and (regexMatch "(?m)^[ \\t]*\\[[ \\t]*server[ \\t]*\\.[ \\t]*tls[ \\t]*\\]" .Values.configuration.toml) (not .Values.server.tls.secretName) -}}
{{- fail "server.tls.secretName: expected the Secret with tls.crt and tls.key, instead of [server.tls] in configuration.toml: the probes must know that they are to ask over https." -}}
{{- end -}}
{{- if and .Values.policy.existingConfigMap .Values.policy.views -}}
{{- fail "policy.views: expected none beside policy.existingConfigMap. Put each view's policy into that ConfigMap, under a key of its own such as strict.toml." -}}
{{- end -}}
{{- if and .Values.certificateAuthority.secretName .Values.certificateAuthority.configMapName -}}
{{- fail "certificateAuthority: expected secretName or configMapName, found both." -}}
{{- end -}}
{{- if and .Values.persistence.enabled (not .Values.persistence.existingClaim) -}}
{{- $cache := addf (include "assay.mebibytes" .Values.storage.blobs | float64) (include "assay.mebibytes" .Values.storage.records | float64) -}}
{{- $volume := include "assay.mebibytes" .Values.persistence.size | float64 -}}
{{- if gt $cache (mulf $volume 0.9) -}}
{{- fail (printf "storage.blobs and storage.records: expected together at most nine tenths of persistence.size (%s), found %s and %s. The ledger, downloads in progress and the file system need the rest; a full volume is answered with 503." .Values.persistence.size .Values.storage.blobs .Values.storage.records) -}}
{{- end -}}
{{- end -}}
{{- $grace := int .Values.terminationGracePeriodSeconds -}}
{{- if lt $grace (add (int .Values.preStopSeconds) 25 | int) -}}
{{- fail (printf "terminationGracePeriodSeconds: expected at least preStopSeconds + 25, found %d: Assay gives running downloads 20 seconds, and then closes its storage." $grace) -}}
{{- end -}}
{{- end -}}
