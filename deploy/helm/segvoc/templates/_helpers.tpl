{{- define "segvoc.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "segvoc.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "segvoc.labels" -}}
{{ include "segvoc.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "segvoc.metrics" -}}
app.kubernetes.io/component: metrics
{{- end }}

{{- define "segvoc.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag }}{{ end }}
{{- end }}

{{- define "segvoc.secret" -}}
{{- .Values.keys.existingSecret | default (printf "%s-keys" (include "segvoc.name" .)) }}
{{- end }}

{{- define "segvoc.claim" -}}
{{- .Values.project.existingClaim | default (printf "%s-project" (include "segvoc.name" .)) }}
{{- end }}

{{- define "segvoc.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
