{{/* What the release's objects are called: by release, so that two of them do not meet. */}}
{{- define "speechless.base" -}}
{{- $chart := .Values.nameOverride | default .Chart.Name -}}
{{- if contains $chart .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name $chart | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "speechless.name" -}}
{{ .Values.fullnameOverride | default (printf "%s-operator" (include "speechless.base" .)) }}
{{- end }}

{{/* Of objects that have no namespace: two releases of one name are in two namespaces. */}}
{{- define "speechless.clusterName" -}}
{{ include "speechless.name" . }}.{{ .Release.Namespace }}
{{- end }}

{{- define "speechless.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "speechless.name" .) }}
{{- end }}

{{- define "speechless.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "speechless.serviceAccount" . }}
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

{{/* The images of stages: every one of `images` but the operator's. */}}
{{- define "speechless.stageImages" -}}
{{ omit .Values.images "operator" | keys | sortAlpha | toJson }}
{{- end }}

{{/* The reference of an image: (list $ "train") */}}
{{- define "speechless.image" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}
{{- with index $root.Values.images $name }}{{ . }}{{ else -}}
{{- $image := $root.Values.image -}}
{{- $registry := $image.registry -}}
{{- if ne $name "operator" }}{{ $registry = $root.Values.stagePods.imageRegistry | default $registry }}{{ end -}}
{{- $registry = $root.Values.global.imageRegistry | default $registry -}}
{{- if not $registry }}
{{- fail (printf "\n\nimage.registry is empty, and no images of Speechless are published yet (%s is looked for).\n\n  - Build them and push them to a registry that your nodes can pull from: make images-push REGISTRY=<registry>\n  - --set image.registry=<registry>, or a full reference each in `images`.\n\nTo see everything on one machine without a registry: make demo. docs/installation.md has the steps.\n" $name) }}
{{- end -}}
{{ $registry }}/{{ with $image.repository }}{{ . }}/{{ end }}{{ $name }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Pull secrets as a pod has them, each once: (list $ .Values.imagePullSecrets). Names are taken for objects. */}}
{{- define "speechless.pullSecrets" -}}
{{- $root := index . 0 }}{{ $found := list }}
{{- range concat $root.Values.global.imagePullSecrets (index . 1) }}
{{- $found = append $found (dict "name" (kindIs "string" . | ternary . (get (kindIs "string" . | ternary (dict) .) "name"))) }}
{{- end }}
{{- $found | uniq | toJson }}
{{- end }}

{{/* The operator's file: defaults for stage pods, and ceilings. */}}
{{- define "speechless.config" -}}
{{- $pods := .Values.stagePods }}
{{- $made := dict
  "imagePullPolicy" ($pods.imagePullPolicy | default .Values.image.pullPolicy)
  "imagePullSecrets" (include "speechless.pullSecrets" (list . $pods.imagePullSecrets) | fromJsonArray)
  "uid" $pods.uid }}
{{- range $key := list "labels" "annotations" "env" "nodeSelector" "tolerations" "priorityClassName" "runtimeClassName" }}
{{- with get $pods $key }}{{ $_ := set $made $key . }}{{ end }}
{{- end }}
{{- dict "stagePods" $made "ceilings" .Values.ceilings | toPrettyJson }}
{{- end }}

{{/* The namespaces of this release, for a policy: another release has its own. */}}
{{- define "speechless.watched" -}}
{{- if .Values.watchNamespaces -}}
namespaceSelector:
  matchExpressions:
    - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson .Values.watchNamespaces }}}
{{- else -}}
namespaceSelector: {}
{{- end }}
{{- end }}

{{/* (list $ "name of the policy") */}}
{{- define "speechless.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ index . 1 }}
  labels: {{- include "speechless.labels" (index . 0) | nindent 4 }}
spec:
  policyName: {{ index . 1 }}
  validationActions: [Deny]
{{- end }}

{{/* What to do about a value that is not allowed: (list $allowed "one of") */}}
{{- define "speechless.choose" -}}
remove it{{ with index . 0 }}, or use {{ index $ 1 }} {{ join ", " . }}{{ end }}
{{- end }}
