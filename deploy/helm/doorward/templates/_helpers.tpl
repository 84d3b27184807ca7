{{- define "doorward.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "doorward.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "doorward.labels" -}}
{{ include "doorward.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* The container, the same in both modes. */}}
{{- define "doorward.container" -}}
name: doorward
image: {{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: ["run", "-c", "/etc/doorward/config/doorward.toml"]
{{- if eq .Values.mode "sidecar" }}
# A native sidecar: it is there before the application is, and stops after it.
restartPolicy: Always
{{- end }}
env:
  - name: DOORWARD_HEALTH__ADDRESS
    value: {{ printf "0.0.0.0:%d" (int .Values.ports.health) | quote }}
  - name: DOORWARD_TIMEOUTS__SHUTDOWN_DELAY
    value: {{ .Values.shutdownDelay | quote }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- if eq .Values.mode "shared" }}
  - name: clients
    containerPort: {{ .Values.ports.clients }}
  {{- end }}
  - name: health
    containerPort: {{ .Values.ports.health }}
startupProbe:
  httpGet:
    path: /livez
    port: health
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /livez
    port: health
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 2
  timeoutSeconds: 3
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  capabilities:
    drop: ["ALL"]
  seccompProfile:
    type: RuntimeDefault
volumeMounts:
  # Whole folders: what a Secret or a ConfigMap changes is then seen.
  - name: doorward-config
    mountPath: /etc/doorward/config
    readOnly: true
  {{- if .Values.secretName }}
  - name: doorward-secrets
    mountPath: /etc/doorward/secrets
    readOnly: true
  {{- end }}
  {{- if .Values.tlsSecretName }}
  - name: doorward-tls
    mountPath: /etc/doorward/tls
    readOnly: true
  {{- end }}
  - name: doorward-state
    mountPath: /var/lib/doorward
  - name: doorward-run
    mountPath: /run/doorward
  - name: doorward-tmp
    mountPath: /tmp
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "doorward.volumes" -}}
- name: doorward-config
  configMap:
    name: {{ include "doorward.fullname" . }}
{{- with .Values.secretName }}
- name: doorward-secrets
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tlsSecretName }}
- name: doorward-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
- name: doorward-state
{{- if .Values.persistence.claimName }}
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.claimName }}
{{- else }}
  emptyDir: {}
{{- end }}
- name: doorward-run
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: doorward-tmp
  emptyDir: {}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
