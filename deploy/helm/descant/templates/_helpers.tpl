{{- define "descant.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "descant.labels" -}}
app.kubernetes.io/name: descant
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "descant.selector" -}}
app.kubernetes.io/name: descant
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "descant.secret" -}}
{{- .Values.secrets.existing | default (include "descant.name" .) -}}
{{- end -}}

{{- define "descant.natsURL" -}}
{{- if .Values.nats.enabled -}}
nats://{{ include "descant.name" . }}-nats:4222
{{- else -}}
{{ required "nats.url: give the URL of your NATS server, such as nats://nats.example:4222, or set nats.enabled" .Values.nats.url }}
{{- end -}}
{{- end -}}

{{- define "descant.s3Endpoint" -}}
{{- if .Values.minio.enabled -}}
http://{{ include "descant.name" . }}-minio:9000
{{- else -}}
{{ required "minio.endpoint: give the URL of your object store, such as https://s3.eu-central-1.amazonaws.com, or set minio.enabled" .Values.minio.endpoint }}
{{- end -}}
{{- end -}}

{{- define "descant.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "descant.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}
