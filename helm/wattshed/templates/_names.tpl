{{- define "wattshed.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "wattshed.fullname" -}}
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

{{/* The name of a part: (list $ "collector"). Cut so that the part always shows; that of the
StatefulSet shorter, because its pods carry it with eleven letters more in a label. */}}
{{- define "wattshed.part" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $room := int (sub (ternary 51 62 (eq $part "collector")) (len $part)) -}}
{{- printf "%s-%s" (include "wattshed.fullname" $root | trunc $room | trimSuffix "-") $part -}}
{{- end -}}

{{- define "wattshed.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* Labels that never change, for selectors: (list $ "collector"). */}}
{{- define "wattshed.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "wattshed.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of an object: (list $ "collector"). */}}
{{- define "wattshed.labels" -}}
{{- $root := index . 0 -}}
{{ include "wattshed.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: wattshed
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with $root.Values.commonLabels }}
{{ tpl (toYaml .) $root }}
{{- end }}
{{- end -}}

{{/* The metadata of an object: (list $ "collector" "name"). */}}
{{- define "wattshed.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ include "wattshed.namespace" $root }}
labels:
  {{- include "wattshed.labels" (list $root (index . 1)) | nindent 2 }}
{{- with $root.Values.commonAnnotations }}
annotations:
  {{- tpl (toYaml .) $root | nindent 2 }}
{{- end }}
{{- end -}}
