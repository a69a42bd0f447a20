{{/* Parts of mode: scaled, in which several pods share a database and an object storage. */}}

{{- define "assay.peersName" -}}
{{- include "assay.fullname" . }}-peers
{{- end -}}

{{/* The table [storage.shared] as environment variables, which override the configuration. */}}
{{- define "assay.sharedEnvironment" -}}
{{- $scaled := .Values.scaled -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: ASSAY_STORAGE__SHARED__DEPLOYMENT
  value: {{ $scaled.deployment | quote }}
- name: ASSAY_STORAGE__SHARED__DATABASE
  value: {{ $scaled.database.url | quote }}
{{- if $scaled.database.passwordSecretName }}
- name: ASSAY_STORAGE__SHARED__PASSWORD_FILE
  value: /run/secrets/assay-shared/database/{{ $scaled.database.passwordKey }}
{{- end }}
{{- with $scaled.objects.url }}
- name: ASSAY_STORAGE__SHARED__OBJECTS
  value: {{ . | quote }}
{{- end }}
{{- with $scaled.objects.endpoint }}
- name: ASSAY_STORAGE__SHARED__ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if $scaled.objects.insecure }}
- name: ASSAY_STORAGE__SHARED__INSECURE
  value: "true"
{{- end }}
{{- with $scaled.objects.region }}
- name: ASSAY_STORAGE__SHARED__REGION
  value: {{ . | quote }}
{{- end }}
- name: ASSAY_STORAGE__SHARED__KEY_FILE
  value: /run/secrets/assay-shared/key/{{ $scaled.key.secretKey }}
- name: ASSAY_STORAGE__SHARED__PEERS
  value: {{ printf "%s:%d" (include "assay.peersName" .) (int $scaled.peerPort) | quote }}
# An IPv6 address needs brackets; server.host tells which kind of addresses the pods have.
- name: ASSAY_STORAGE__SHARED__PEER_ADDRESS
  value: {{ printf (ternary "[$(POD_IP)]:%d" "$(POD_IP):%d" (contains ":" .Values.server.host)) (int $scaled.peerPort) | quote }}
{{- with $scaled.ledgerGrace }}
- name: ASSAY_STORAGE__SHARED__LEDGER_GRACE
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Resources of the container. In mode: scaled, the tier in an emptyDir counts as ephemeral storage, and needs some room for logs. */}}
{{- define "assay.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if and (eq .Values.mode "scaled") (not .Values.scaled.tier.storageClassName) -}}
{{- $bytes := printf "%dMi" (addf (include "assay.mebibytes" .Values.scaled.tier.size | float64) 1024 | int) -}}
{{- range $kind := list "requests" "limits" -}}
{{- $_ := set $resources $kind (merge (get $resources $kind | default dict) (dict "ephemeral-storage" $bytes)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "assay.topologySpread" -}}
{{- if .Values.scaled.topologySpreadConstraints -}}
{{- toYaml .Values.scaled.topologySpreadConstraints -}}
{{- else -}}
{{- $selector := include "assay.selector" . | fromYaml -}}
{{- $constraints := list -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" -}}
{{- $constraints = append $constraints (dict "maxSkew" 1 "topologyKey" $key "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" (dict "matchLabels" $selector) "matchLabelKeys" (list "pod-template-hash")) -}}
{{- end -}}
{{- toYaml $constraints -}}
{{- end -}}
{{- end -}}

{{/* TCP port of a URL, or `standard` if the URL has none. */}}
{{- define "assay.urlPort" -}}
{{- $authority := regexReplaceAll "^[a-z0-9+.-]+://([^/?#]*@)?([^/?#]*).*$" .url "${2}" -}}
{{- regexFind "[0-9]+$" (regexFind "(:[0-9]+)$" $authority) | default .standard -}}
{{- end -}}
