{{/* Template of the proxy's pods: of the StatefulSet (mode: single) and of the Deployment (mode: scaled). */}}
{{- define "assay.podTemplate" -}}
{{- $configuration := include "assay.configurationMap" . -}}
{{- $policy := include "assay.policyMap" . -}}
{{- $authority := .Values.certificateAuthority -}}
{{- $persistence := .Values.persistence -}}
{{- $tls := .Values.server.tls.secretName -}}
{{- $scheme := ternary "HTTPS" "HTTP" (ne $tls "") -}}
{{- $isScaled := eq .Values.mode "scaled" -}}
{{- $scaled := .Values.scaled -}}
metadata:
  labels:
    {{- include "assay.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: assay
    # A changed configuration needs a new pod. A changed policy does not: Assay reloads it.
    checksum/configuration: {{ .Values.configuration.toml | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "assay.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Otherwise Kubernetes sets ASSAY_* variables for a Service named "assay", which Assay would read as settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $isScaled }}
  topologySpreadConstraints:
    {{- include "assay.topologySpread" . | nindent 4 }}
  {{- end }}
  containers:
    - name: assay
      image: {{ include "assay.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, --log, json]
      ports:
        - name: http
          containerPort: 8080
          protocol: TCP
        {{- if $isScaled }}
        - name: peers
          containerPort: {{ $scaled.peerPort }}
          protocol: TCP
        {{- end }}
      env:
        {{- if $configuration }}
        - name: ASSAY_CONFIG
          value: /etc/assay/configuration/proxy.toml
        {{- end }}
        {{- if or .Values.policy.existingConfigMap .Values.policy.toml }}
        - name: ASSAY_POLICY
          value: /etc/assay/policy/policy.toml
        {{- end }}
        - name: ASSAY_SERVER__HOST
          value: {{ .Values.server.host | quote }}
        - name: ASSAY_SERVER__PORT
          value: "8080"
        {{- with include "assay.publicUrl" . }}
        - name: ASSAY_SERVER__PUBLIC_URL
          value: {{ . | quote }}
        {{- end }}
        {{- if $tls }}
        - name: ASSAY_SERVER__TLS__CERTIFICATE
          value: /etc/assay/tls/tls.crt
        - name: ASSAY_SERVER__TLS__KEY
          value: /etc/assay/tls/tls.key
        {{- end }}
        - name: ASSAY_STORAGE__DIRECTORY
          value: /var/lib/assay/storage
        - name: ASSAY_STORAGE__BLOBS
          value: {{ .Values.storage.blobs | quote }}
        - name: ASSAY_STORAGE__RECORDS
          value: {{ .Values.storage.records | quote }}
        {{- if .Values.audit.enabled }}
        - name: ASSAY_AUDIT__SINK
          value: {{ .Values.audit.sink }}
        {{- if ne .Values.audit.sink "stdout" }}
        - name: ASSAY_AUDIT__PATH
          value: /var/lib/assay/audit/audit.jsonl
        {{- end }}
        - name: ASSAY_AUDIT__ON_FAILURE
          value: {{ .Values.audit.onFailure }}
        {{- end }}
        {{- if $isScaled }}
        {{- include "assay.sharedEnvironment" . | nindent 8 }}
        {{- end }}
        - name: ASSAY_VERIFICATION__WORKERS
          value: {{ .Values.verification.workers | quote }}
        - name: TMPDIR
          value: /var/lib/assay
        {{- if or $authority.secretName $authority.configMapName }}
        - name: SSL_CERT_FILE
          value: /etc/assay/ca/{{ $authority.key }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if or .Values.extraEnvFrom (and $isScaled $scaled.objects.credentialsSecretName) }}
      envFrom:
        {{- if and $isScaled $scaled.objects.credentialsSecretName }}
        - secretRef:
            name: {{ $scaled.objects.credentialsSecretName }}
        {{- end }}
        {{- with .Values.extraEnvFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      startupProbe:
        httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}
        {{- toYaml .Values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: http, scheme: {{ $scheme }}}
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- with .Values.preStopSeconds }}
      lifecycle:
        # Wait until every node has stopped sending connections to this pod. Python, because an image may lack `sleep`.
        preStop:
          exec:
            command: [python, -c, "import time; time.sleep({{ . }})"]
      {{- end }}
      resources:
        {{- include "assay.resources" . | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      # Directories, not subPath: a file mounted by subPath is never updated.
      volumeMounts:
        - name: storage
          mountPath: /var/lib/assay
        {{- if $configuration }}
        - name: configuration
          mountPath: /etc/assay/configuration
          readOnly: true
        {{- end }}
        {{- if $policy }}
        - name: policy
          mountPath: /etc/assay/policy
          readOnly: true
        {{- end }}
        {{- if or $authority.secretName $authority.configMapName }}
        - name: ca
          mountPath: /etc/assay/ca
          readOnly: true
        {{- end }}
        {{- if $tls }}
        - name: tls
          mountPath: /etc/assay/tls
          readOnly: true
        {{- end }}
        {{- if .Values.trustRoots.configMapName }}
        - name: trust-roots
          mountPath: /etc/assay/trust
          readOnly: true
        {{- end }}
        {{- if $isScaled }}
        {{- if $scaled.database.passwordSecretName }}
        - name: shared-database
          mountPath: /run/secrets/assay-shared/database
          readOnly: true
        {{- end }}
        - name: shared-key
          mountPath: /run/secrets/assay-shared/key
          readOnly: true
        {{- end }}
        {{- range .Values.credentials }}
        - name: credentials-{{ .name }}
          mountPath: /run/secrets/assay/{{ .name }}
          readOnly: true
        {{- end }}
  volumes:
    {{- if $isScaled }}
    # Files that are in the object storage or at an index too, so they may be lost with the pod.
    - name: storage
      {{- if $scaled.tier.storageClassName }}
      ephemeral:
        volumeClaimTemplate:
          spec:
            accessModes: [ReadWriteOnce]
            storageClassName: {{ $scaled.tier.storageClassName }}
            resources:
              requests:
                storage: {{ $scaled.tier.size }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ $scaled.tier.size }}
      {{- end }}
    - name: shared-key
      secret:
        secretName: {{ $scaled.key.secretName }}
        defaultMode: 0440
    {{- with $scaled.database.passwordSecretName }}
    - name: shared-database
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- else if not $persistence.enabled }}
    - name: storage
      emptyDir:
        sizeLimit: {{ $persistence.size }}
    {{- else if $persistence.existingClaim }}
    - name: storage
      persistentVolumeClaim:
        claimName: {{ $persistence.existingClaim }}
    {{- end }}
    {{- if $configuration }}
    - name: configuration
      configMap:
        name: {{ $configuration }}
    {{- end }}
    {{- if $policy }}
    - name: policy
      configMap:
        name: {{ $policy }}
    {{- end }}
    {{- if $authority.secretName }}
    - name: ca
      secret:
        secretName: {{ $authority.secretName }}
        defaultMode: 0440
    {{- else if $authority.configMapName }}
    - name: ca
      configMap:
        name: {{ $authority.configMapName }}
    {{- end }}
    {{- if $tls }}
    - name: tls
      secret:
        secretName: {{ $tls }}
        defaultMode: 0440
    {{- end }}
    {{- if .Values.trustRoots.configMapName }}
    - name: trust-roots
      configMap:
        name: {{ .Values.trustRoots.configMapName }}
    {{- end }}
    {{- range .Values.credentials }}
    - name: credentials-{{ .name }}
      secret:
        secretName: {{ .secretName }}
        defaultMode: 0440
    {{- end }}
{{- end -}}
