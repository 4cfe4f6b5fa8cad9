{{/* The pools that run, each over the exporter's own values, as JSON by name: include with $. */}}
{{- define "wattshed.exporter.pools" -}}
{{- $made := dict -}}
{{- $shared := omit .Values.exporter "pools" "rbac" "serviceAccount" "service" -}}
{{- range $name, $own := .Values.exporter.pools -}}
  {{- $pool := mergeOverwrite (deepCopy $shared) (deepCopy $own) -}}
  {{- if and $shared.enabled $pool.enabled -}}
    {{- $_ := set $made $name $pool -}}
  {{- end -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{/*
The affinity of a pool, as JSON: (list $ "node" $pools). One that runs elsewhere is kept from every
node that another selects: of each label that the other asks for, one has to be missing, so terms
multiply.
*/}}
{{- define "wattshed.exporter.affinity" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $pools := index . 2 -}}
{{- $pool := get $pools $name -}}
{{- $affinity := deepCopy $pool.affinity -}}
{{- if $pool.elsewhere -}}
  {{- $required := "requiredDuringSchedulingIgnoredDuringExecution" -}}
  {{- $own := dig "nodeAffinity" $required "nodeSelectorTerms" (list) $affinity -}}
  {{- $terms := default (list dict) $own -}}
  {{- range $other := keys $pools | sortAlpha -}}
    {{- if not (get $pools $other).elsewhere -}}
      {{- $labels := dig $other "nodeSelector" dict $root.Values.exporter.pools -}}
      {{- if not $labels -}}
        {{- fail (printf "exporter.pools.%s takes every node, so %s, which runs elsewhere, has none: give it a nodeSelector or disable one of the two" $other $name) -}}
      {{- end -}}
      {{- $next := list -}}
      {{- range $term := $terms -}}
        {{- range $label, $value := $labels -}}
          {{- $without := dict "key" $label "operator" "NotIn" "values" (list $value) -}}
          {{- $all := append (default (list) $term.matchExpressions) $without -}}
          {{- $next = append $next (set (deepCopy $term) "matchExpressions" $all) -}}
        {{- end -}}
      {{- end -}}
      {{- $terms = $next -}}
    {{- end -}}
  {{- end -}}
  {{- if first $terms -}}
    {{- $affinity = mergeOverwrite $affinity (dict "nodeAffinity" (dict $required (dict "nodeSelectorTerms" $terms))) -}}
  {{- end -}}
{{- end -}}
{{- toJson $affinity -}}
{{- end -}}

{{/* Labels that tell the pods of one pool from all others: (list $ "gpu"). */}}
{{- define "wattshed.exporter.selectorLabels" -}}
{{ include "wattshed.selectorLabels" (list (index . 0) "exporter") }}
wattshed.io/pool: {{ index . 1 }}
{{- end -}}

{{- define "wattshed.exporter.serviceAccount" -}}
{{- $account := .Values.exporter.serviceAccount -}}
{{- if $account.create -}}
{{- default (include "wattshed.part" (list . "exporter")) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}
