{{/* Checks of values that the schema cannot express. Each message says what to do. */}}
{{- define "assay.refusals" -}}
{{- if eq .Values.mode "scaled" -}}
{{- include "assay.refusalsScaled" . -}}
{{- else -}}
{{- include "assay.refusalsSingle" . -}}
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
{{- $grace := int .Values.terminationGracePeriodSeconds -}}
{{- if lt $grace (add (int .Values.preStopSeconds) 25 | int) -}}
{{- fail (printf "terminationGracePeriodSeconds: expected at least preStopSeconds + 25, found %d. Assay gives running downloads 20 seconds to finish, and then closes its storage." $grace) -}}
{{- end -}}
{{- end -}}

{{- define "assay.refusalsSingle" -}}
{{- if and .Values.audit.enabled (eq .Values.audit.sink "objects") -}}
{{- fail "audit.sink: expected file or stdout with mode=single, found objects. Only replicas have an object storage." -}}
{{- end -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- fail (printf "replicas: expected 0 or 1 with mode=single, found %v. Only one Assay process can use a storage directory. For several replicas, set mode=scaled, which needs a PostgreSQL database; or give the pod more resources." .Values.replicas) -}}
{{- end -}}
{{- if or .Values.scaled.database.url .Values.scaled.objects.url -}}
{{- fail "mode: expected scaled, because scaled.database.url or scaled.objects.url is set. With mode=single, the values of scaled have no effect." -}}
{{- end -}}
{{- if and .Values.persistence.enabled (not .Values.persistence.existingClaim) -}}
{{- $cache := addf (include "assay.mebibytes" .Values.storage.blobs | float64) (include "assay.mebibytes" .Values.storage.records | float64) -}}
{{- $volume := include "assay.mebibytes" .Values.persistence.size | float64 -}}
{{- if gt $cache (mulf $volume 0.9) -}}
{{- fail (printf "storage.blobs and storage.records: expected together at most nine tenths of persistence.size (%s), found %s and %s. The ledger, downloads in progress and the file system need the rest; with a full volume, clients get 503." .Values.persistence.size .Values.storage.blobs .Values.storage.records) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "assay.refusalsScaled" -}}
{{- $scaled := .Values.scaled -}}
{{- range $key, $text := dict "deployment" $scaled.deployment "database.url" $scaled.database.url "key.secretName" $scaled.key.secretName -}}
{{- if not $text -}}
{{- fail (printf "scaled.%s: expected a value with mode=scaled. The replicas share the database of one deployment, and a key. For one pod without them, set mode=single." $key) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "^[a-z]+://[^/?#]*:[^/?#]*@|[?&]password=" $scaled.database.url -}}
{{- fail "scaled.database.url: expected no password, because it would be readable in the Deployment. Put it into a Secret, and name it in scaled.database.passwordSecretName." -}}
{{- end -}}
{{- if and $scaled.objects.endpoint (not (hasPrefix "s3:" $scaled.objects.url)) -}}
{{- fail (printf "scaled.objects.endpoint: expected none, unless scaled.objects.url begins with s3://; found %s." $scaled.objects.endpoint) -}}
{{- end -}}
{{- if and (hasPrefix "http:" $scaled.objects.endpoint) (not $scaled.objects.insecure) -}}
{{- fail (printf "scaled.objects.endpoint: expected https, found %s. Set scaled.objects.insecure=true if the network between the pods and the object storage is trusted." $scaled.objects.endpoint) -}}
{{- end -}}
{{- if and .Values.replicas (not $scaled.autoscaling.enabled) (lt (int .Values.replicas) (add (int $scaled.minAvailable) 1 | int)) -}}
{{- fail (printf "replicas: expected at least scaled.minAvailable + 1 (%d) with mode=scaled, or 0, or scaled.autoscaling.enabled=true; found %v. With fewer, no node could be drained." (add (int $scaled.minAvailable) 1) .Values.replicas) -}}
{{- end -}}
{{- if $scaled.autoscaling.enabled -}}
{{- if lt (int $scaled.autoscaling.minReplicas) (add (int $scaled.minAvailable) 1 | int) -}}
{{- fail (printf "scaled.autoscaling.minReplicas: expected at least scaled.minAvailable + 1 (%d), found %v. With fewer, no node could be drained." (add (int $scaled.minAvailable) 1) $scaled.autoscaling.minReplicas) -}}
{{- end -}}
{{- if lt (int $scaled.autoscaling.maxReplicas) (int $scaled.autoscaling.minReplicas) -}}
{{- fail (printf "scaled.autoscaling.maxReplicas: expected at least minReplicas (%v), found %v." $scaled.autoscaling.minReplicas $scaled.autoscaling.maxReplicas) -}}
{{- end -}}
{{- if not (dig "requests" "cpu" "" .Values.resources) -}}
{{- fail "resources.requests.cpu: expected a CPU request, because scaled.autoscaling.cpuPercent is a share of it." -}}
{{- end -}}
{{- end -}}
{{- $isUploaded := and .Values.audit.enabled (eq .Values.audit.sink "objects") -}}
{{- if and .Values.audit.enabled (eq .Values.audit.sink "file") -}}
{{- fail "audit.sink: expected objects or stdout with mode=scaled. The volume of a replica, and an audit trail on it, is lost with its pod." -}}
{{- end -}}
{{- if and $isUploaded (not $scaled.objects.url) -}}
{{- fail "audit.sink: expected stdout without scaled.objects.url, found objects." -}}
{{- end -}}
{{- if .Values.persistence.existingClaim -}}
{{- fail "persistence.existingClaim: expected none with mode=scaled. Each replica has another volume for as long as it runs; scaled.tier sets its size and class." -}}
{{- end -}}
{{- $cache := addf (include "assay.mebibytes" .Values.storage.blobs | float64) (include "assay.mebibytes" .Values.storage.records | float64) -}}
{{- if $isUploaded -}}
{{- $cache = addf $cache 1024 -}}
{{- end -}}
{{- if gt $cache (mulf (include "assay.mebibytes" $scaled.tier.size | float64) 0.9) -}}
{{- fail (printf "storage.blobs and storage.records: expected together at most nine tenths of scaled.tier.size (%s), found %s and %s%s. Kubernetes evicts a pod that fills its volume." $scaled.tier.size .Values.storage.blobs .Values.storage.records (ternary ", and 1 GiB of audit entries that may wait" "" $isUploaded)) -}}
{{- end -}}
{{- end -}}
