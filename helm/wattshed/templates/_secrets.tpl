{{/* A Secret of random words that stay what they are: (list $ component name keys). */}}
{{- define "wattshed.randomSecret" -}}
{{- $root := index . 0 -}}
{{- $there := lookup "v1" "Secret" (include "wattshed.namespace" $root) (index . 2) | default dict -}}
{{- $known := get $there "data" | default dict }}
apiVersion: v1
kind: Secret
metadata:
  {{- include "wattshed.metadata" (list $root (index . 1) (index . 2)) | nindent 2 }}
type: Opaque
data:
  {{- range $key := index . 3 }}
  {{ $key }}: {{ get $known $key | default (randAlphaNum 43 | b64enc) }}
  {{- end }}
{{- end -}}
