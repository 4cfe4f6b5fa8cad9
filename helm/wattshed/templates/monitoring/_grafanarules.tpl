{{/* The groups of Grafana's rules of which alerts are on, as a JSON list. */}}
{{- define "wattshed.grafanaGroups" -}}
{{- $file := .Files.Get "files/alerts/grafana.yaml" | replace "wattshed-clickhouse" .Values.grafana.datasource.uid | fromYaml -}}
{{- $groups := list -}}
{{- range $group := $file.groups -}}
{{- $rules := list -}}
{{- $on := include "wattshed.alerts.on" (list $ .rules "title") | fromJsonArray -}}
{{- range .rules -}}
{{- if has .title $on -}}
{{- $rules = append $rules (include "wattshed.grafanaRule" (list $ . (get $.Values.alerts.rules .title)) | fromJson) -}}
{{- end -}}
{{- end -}}
{{- if $rules -}}
{{- $groups = append $groups (merge (dict "rules" $rules "folder" $.Values.dashboards.folder "interval" $.Values.alerts.interval) $group) -}}
{{- end -}}
{{- end -}}
{{- toJson $groups -}}
{{- end -}}

{{/* A length such as 1d as Go writes it, which knows no days. */}}
{{- define "wattshed.goLength" -}}
{{- hasSuffix "d" . | ternary (printf "%dh" (mul 24 (int (trimSuffix "d" .)))) . -}}
{{- end -}}

{{/* A rule of Grafana with the settings put in, as JSON: (list $ rule settings). */}}
{{- define "wattshed.grafanaRule" -}}
{{- $root := index . 0 -}}
{{- $rule := index . 1 -}}
{{- $own := index . 2 -}}
{{- $condition := dict "evaluator" (dict "type" "gt" "params" (list $own.fireAbove)) -}}
{{- if ne (toJson $own.clearBelow) (toJson $own.fireAbove) -}}
{{- $_ := set $condition "unloadEvaluator" (dict "type" "lt" "params" (list $own.clearBelow)) -}}
{{- end -}}
{{- range $rule.data -}}
{{- if eq .refId "B" -}}
{{- $_ := set .model "conditions" (list $condition) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $rule "for" $own.for -}}
{{- $_ := set $rule "keepFiringFor" $own.keepFiringFor -}}
{{- $_ := set $rule "labels" (include "wattshed.alerts.labels" (list $root $own) | fromYaml) -}}
{{- $_ := set $rule "annotations" (include "wattshed.alerts.annotations" (list $root $rule.annotations) | fromYaml) -}}
{{- toJson $rule -}}
{{- end -}}
