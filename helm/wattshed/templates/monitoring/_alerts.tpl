{{/* Fail where an alert's settings contradict each other: (list "GPUIdleBurn" settings). The compiler refuses the same. */}}
{{- define "wattshed.alerts.check" -}}
{{- $name := index . 0 -}}
{{- with index . 1 -}}
{{- if gt (float64 .clearBelow) (float64 .fireAbove) -}}
{{- fail (printf "alerts.rules.%s: clearBelow is above fireAbove: it would clear where it fires" $name) -}}
{{- end -}}
{{- if and (le (float64 .clearBelow) 0.0) (lt (float64 .clearBelow) (float64 .fireAbove)) -}}
{{- fail (printf "alerts.rules.%s: clearBelow must be above 0, where nothing is wrong: it would never clear" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The names of the alerts of a group that are on, as JSON: (list $ rules "alert"), the last being the key of their names. */}}
{{- define "wattshed.alerts.on" -}}
{{- $settings := (index . 0).Values.alerts.rules -}}
{{- $key := index . 2 -}}
{{- $on := list -}}
{{- range index . 1 -}}
{{- $name := get . $key -}}
{{- if dig $name "enabled" false $settings -}}
{{- include "wattshed.alerts.check" (list $name (get $settings $name)) -}}
{{- $on = append $on $name -}}
{{- end -}}
{{- end -}}
{{- toJson $on -}}
{{- end -}}

{{/* The annotations of a rule: (list $ annotations). */}}
{{- define "wattshed.alerts.annotations" -}}
{{- $root := index . 0 -}}
{{- $said := deepCopy (index . 1) -}}
{{- range list "runbook_url" "dashboard_url" -}}
{{- $_ := set $said . (include "wattshed.link" (list $root (get $said .))) -}}
{{- end -}}
{{- toYaml (merge (deepCopy $root.Values.alerts.additionalRuleAnnotations) $said) -}}
{{- end -}}

{{/* The labels of a rule: (list $ settings). */}}
{{- define "wattshed.alerts.labels" -}}
{{- $own := index . 1 -}}
{{- toYaml (merge (dict "severity" $own.severity) $own.labels (index . 0).Values.alerts.additionalRuleLabels) -}}
{{- end -}}

{{/* A rule's PromQL: (list pieces settings). */}}
{{- define "wattshed.alerts.expr" -}}
{{- $pieces := index . 0 -}}
{{- $own := index . 1 -}}
{{- print $pieces.before (toJson $own.fireAbove) -}}
{{- if ne (toJson $own.clearBelow) (toJson $own.fireAbove) -}}
{{- print $pieces.between (toJson $own.clearBelow) $pieces.after -}}
{{- end -}}
{{- end -}}

{{/* The groups of rules of which alerts are on, as YAML. */}}
{{- define "wattshed.alerts.groups" -}}
{{- range (.Files.Get "files/alerts/prometheus.yaml" | fromYaml).groups }}
{{- $on := include "wattshed.alerts.on" (list $ .rules "alert") | fromJsonArray }}
{{- if $on }}
- name: {{ .name }}
  interval: {{ $.Values.alerts.interval }}
  rules:
    {{- range .rules }}
    {{- if has .alert $on }}
    {{- $own := get $.Values.alerts.rules .alert }}
    - alert: {{ .alert }}
      expr: {{ include "wattshed.alerts.expr" (list .expr $own) | toJson }}
      for: {{ $own.for }}
      {{- if not (regexMatch "^0+[smhd]$" $own.keepFiringFor) }}
      keep_firing_for: {{ $own.keepFiringFor }}
      {{- end }}
      labels:
        {{- include "wattshed.alerts.labels" (list $ $own) | nindent 8 }}
      annotations:
        {{- include "wattshed.alerts.annotations" (list $ .annotations) | nindent 8 }}
    {{- end }}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}
