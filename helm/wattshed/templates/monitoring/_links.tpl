{{/* Where people reach the collector, without a slash at the end: as is said, by the first host of the Ingress, or the Service. */}}
{{- define "wattshed.collectorUrl" -}}
{{- $ingress := .Values.collector.ingress -}}
{{- if .Values.alerts.url -}}
{{- trimSuffix "/" .Values.alerts.url -}}
{{- else if and $ingress.enabled $ingress.hosts -}}
{{- printf "%s://%s%s" (ternary "https" "http" (not (empty $ingress.tls))) (first $ingress.hosts) (trimSuffix "/" $ingress.path) -}}
{{- else -}}
{{- include "wattshed.collector.url" . -}}
{{- end -}}
{{- end -}}

{{/* A link of an alert, a path at the collector, as a URL; boards are at Grafana where that has an address: (list $ "/boards/x"). */}}
{{- define "wattshed.link" -}}
{{- $root := index . 0 -}}
{{- $path := index . 1 -}}
{{- if and $root.Values.grafana.url (hasPrefix "/boards/" $path) -}}
{{- printf "%s/d/%s" (trimSuffix "/" $root.Values.grafana.url) (trimPrefix "/boards/" $path) -}}
{{- else -}}
{{- printf "%s%s" (include "wattshed.collectorUrl" $root) $path -}}
{{- end -}}
{{- end -}}

{{/* The metadata of an object that others look for: (dict "root" $ "component" "" "name" "" "of" .Values.x "labels" dict "annotations" dict). */}}
{{- define "wattshed.foundMetadata" -}}
{{- $root := .root -}}
name: {{ .name }}
namespace: {{ default (include "wattshed.namespace" $root) .of.namespace }}
labels:
  {{- mergeOverwrite (include "wattshed.labels" (list $root .component) | fromYaml) (default dict .labels) .of.additionalLabels | toYaml | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .of.annotations (tpl (toYaml $root.Values.commonAnnotations) $root | fromYaml) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
