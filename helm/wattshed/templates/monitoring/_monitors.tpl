{{/* What scrapes a component asks, and shows of itself: (list $ kind "collector"). */}}
{{- define "wattshed.monitor.endpoint" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $component := index . 2 -}}
{{- $own := get $kind $component -}}
port: {{ eq $component "collector" | ternary "http" "metrics" }}
path: /metrics
scheme: {{ default (include "wattshed.collector.scheme" $root) $own.scheme }}
{{- with default $kind.interval $own.interval }}
interval: {{ . }}
{{- end }}
{{- with default $kind.scrapeTimeout $own.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
honorLabels: {{ $kind.honorLabels }}
{{- include (printf "wattshed.monitor.%sAuth" $component) (list $root $kind) }}
{{- with $own.tlsConfig | default (eq $component "collector" | ternary (include "wattshed.monitor.collectorTls" (list $root $kind) | fromYaml) dict) }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "relabelings" "metricRelabelings" }}
{{- with get $kind $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Whether the monitors of a kind are in another namespace than the Secrets of the release: (list $ kind). */}}
{{- define "wattshed.monitor.apart" -}}
{{- $namespace := include "wattshed.namespace" (index . 0) -}}
{{- if ne (default $namespace (index . 1).namespace) $namespace -}}
true
{{- end -}}
{{- end -}}

{{/* How Prometheus, which goes to pods by address, checks the collector's certificate: (list $ kind). */}}
{{- define "wattshed.monitor.collectorTls" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.collector.tls -}}
{{- if .enabled -}}
serverName: {{ include "wattshed.part" (list $root "collector") }}.{{ include "wattshed.namespace" $root }}.svc
{{- if and .caKey (not (include "wattshed.monitor.apart" $)) }}
ca:
  secret:
    name: {{ .existingSecret }}
    key: {{ .caKey }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "wattshed.monitor.collectorAuth" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- with $kind.collector.token }}
{{- if .enabled }}
{{- if and (include "wattshed.monitor.apart" (list $root $kind)) (not .existingSecret) }}
{{- fail "A monitor in a namespace of its own cannot read the collector's Secret of tokens: put a Secret with the token there and name it in collector.token.existingSecret of serviceMonitor or podMonitor" }}
{{- end }}
authorization:
  type: Bearer
  credentials:
    name: {{ default (include "wattshed.tokens.secret" $root) .existingSecret }}
    key: {{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "wattshed.monitor.exporterAuth" -}}
{{- with (index . 1).exporter.basicAuth }}
{{- if .existingSecret }}
basicAuth:
  username:
    name: {{ .existingSecret }}
    key: {{ .usernameKey }}
  password:
    name: {{ .existingSecret }}
    key: {{ .passwordKey }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What a ServiceMonitor and a PodMonitor have in common beside the endpoint: (list $ kind "collector"). */}}
{{- define "wattshed.monitor.spec" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
namespaceSelector:
  matchNames:
    - {{ include "wattshed.namespace" $root }}
selector:
  matchLabels:
    {{- include "wattshed.selectorLabels" (list $root (index . 2)) | nindent 4 }}
{{- range $key := list "jobLabel" "targetLabels" "podTargetLabels" "sampleLimit" "targetLimit" "labelLimit" "labelNameLengthLimit" "labelValueLengthLimit" "keepDroppedTargets" "bodySizeLimit" }}
{{- with get $kind $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- if $kind.attachMetadata.node }}
attachMetadata:
  node: true
{{- end }}
{{- end -}}

{{/* Fail where Prometheus would scrape a component twice, or what is not there. */}}
{{- define "wattshed.monitor.check" -}}
{{- $values := .Values -}}
{{- range $component := list "collector" "exporter" -}}
{{- $kinds := list -}}
{{- range $kind := list "serviceMonitor" "podMonitor" -}}
{{- if (get (get $values $kind) $component).enabled -}}
{{- $kinds = append $kinds $kind -}}
{{- if not (get $values $component).enabled -}}
{{- fail (printf "%s.%s is enabled, and %s.enabled is false: there is nothing to scrape" $kind $component $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (len $kinds) 1 -}}
{{- fail (printf "serviceMonitor.%s and podMonitor.%s are both enabled: Prometheus would scrape each of them twice" $component $component) -}}
{{- end -}}
{{- end -}}
{{- if and $values.serviceMonitor.exporter.enabled (not $values.exporter.service.enabled) -}}
{{- fail "serviceMonitor.exporter needs exporter.service.enabled; a PodMonitor does without" -}}
{{- end -}}
{{- end -}}
