{{- define "speechless.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}-operator
{{- end }}

{{- define "speechless.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "speechless.name" .) }}
{{- end }}

{{- define "speechless.selector" -}}
app.kubernetes.io/name: speechless-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "speechless.labels" -}}
{{ include "speechless.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: speechless
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The reference of an image: (list $ "train") */}}
{{- define "speechless.image" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}
{{- with index $root.Values.images $name }}{{ . }}{{ else -}}
{{- $image := $root.Values.image -}}
{{ with $image.registry }}{{ . }}/{{ end }}{{ with $image.repository }}{{ . }}/{{ end }}{{ $name }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* What the operator may do. No secrets, no wildcards. */}}
{{- define "speechless.rules" -}}
- apiGroups: [speechless.dev]
  resources: [finetunes, evaluations, quantizations, inferenceservices]
  # delete: spec.ttlSecondsAfterFinished
  verbs: [get, list, watch, delete]
- apiGroups: [speechless.dev]
  resources: [finetunes/status, evaluations/status, quantizations/status, inferenceservices/status]
  verbs: [patch]
# Where the API server asks for it before an owner reference may block its owner's deletion.
- apiGroups: [speechless.dev]
  resources: [finetunes/finalizers, evaluations/finalizers, quantizations/finalizers, inferenceservices/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, watch, create, patch]
{{- end }}
