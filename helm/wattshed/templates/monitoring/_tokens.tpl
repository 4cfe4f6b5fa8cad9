{{- define "wattshed.monitor.tokens" -}}
{{- default (include "wattshed.part" (list . "tokens")) ((.Values.collector).tokens).existingSecret -}}
{{- end -}}
