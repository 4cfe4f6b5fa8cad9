{{/* Random words by key, as JSON of base64: those of the Secret that is there, else new ones, and the same wherever this
     installation asks for them: (list $ name keys). They are kept in .Values, which all templates share and nothing else reads. */}}
{{- define "wattshed.words" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $made := get $root.Values "_words" | default dict -}}
{{- if not (hasKey $made $name) -}}
{{- $there := lookup "v1" "Secret" (include "wattshed.namespace" $root) $name | default dict -}}
{{- $known := get $there "data" | default dict -}}
{{- $words := dict -}}
{{- range $key := index . 2 -}}
{{- $_ := set $words $key (get $known $key | default (randAlphaNum 43 | b64enc)) -}}
{{- end -}}
{{- $_ := set $root.Values "_words" (set $made $name $words) -}}
{{- end -}}
{{- get $made $name | toJson -}}
{{- end -}}

{{/* A Secret of random words that stay what they are: (list $ component name keys). */}}
{{- define "wattshed.randomSecret" -}}
{{- $root := index . 0 }}
apiVersion: v1
kind: Secret
metadata:
  {{- include "wattshed.metadata" (list $root (index . 1) (index . 2)) | nindent 2 }}
type: Opaque
data:
  {{- range $key, $word := include "wattshed.words" (list $root (index . 2) (index . 3)) | fromJson }}
  {{ $key }}: {{ $word }}
  {{- end }}
{{- end -}}
