{{/* registry/repository:tag or @digest of an image: (list $ .Values.collector.image). */}}
{{- define "wattshed.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := default $image.registry $root.Values.global.imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest -}}
@{{ $image.digest }}
{{- else -}}
:{{ default $root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* The imagePullSecrets of a pod, global ones first: (list $ .Values.collector.imagePullSecrets). */}}
{{- define "wattshed.pullSecrets" -}}
{{- $secrets := concat (index . 0).Values.global.imagePullSecrets (index . 1 | default list) -}}
{{- if $secrets }}
imagePullSecrets:
  {{- range $secrets }}
  - name: {{ kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") . }}
  {{- end }}
{{- end }}
{{- end -}}
