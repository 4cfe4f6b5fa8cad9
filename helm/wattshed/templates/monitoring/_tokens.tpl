{{- define "wattshed.tokensSecret" -}}
{{- default (include "wattshed.part" (list . "tokens")) (dig "collector" "tokens" "existingSecret" "" (deepCopy .Values | merge dict)) -}}
{{- end -}}
