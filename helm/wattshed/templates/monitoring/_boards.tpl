{{/* The boards that are wanted, as JSON: their uids. */}}
{{- define "wattshed.boards" -}}
{{- $all := list -}}
{{- range $path, $_ := .Files.Glob "files/dashboards/*.json" -}}
{{- $all = append $all (base $path | trimSuffix ".json") -}}
{{- end -}}
{{- if not $all -}}
{{- fail "dashboards: files/dashboards of this chart is empty. It is a symbolic link, which only a clone and the chart's package (make chart-package) have" -}}
{{- end -}}
{{- range .Values.dashboards.exclude -}}
{{- if not (has . $all) -}}
{{- fail (printf "dashboards.exclude: there is no board %s, but %s" . (join ", " $all)) -}}
{{- end -}}
{{- end -}}
{{- $wanted := list -}}
{{- range $all -}}
{{- if not (has . $.Values.dashboards.exclude) -}}
{{- $wanted = append $wanted . -}}
{{- end -}}
{{- end -}}
{{- toJson $wanted -}}
{{- end -}}

{{/* The name of a board's objects: (list $ uid). */}}
{{- define "wattshed.board" -}}
{{- include "wattshed.part" (list (index . 0) (printf "board-%s" (trimPrefix "wattshed-" (index . 1)))) -}}
{{- end -}}
