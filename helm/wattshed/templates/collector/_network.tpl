{{- define "wattshed.egress.dns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{- define "wattshed.egress.clickhouse" -}}
{{- $clickhouse := .Values.clickhouse -}}
{{- if eq $clickhouse.mode "external" }}
- ports:
    {{- range $port := include "wattshed.clickhouse.ports" . | fromJsonArray }}
    - {port: {{ $port }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.clickhouse }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- else if ne $clickhouse.mode "embedded" }}
- ports:
    - {port: 8123, protocol: TCP}
  to:
    - podSelector:
        matchLabels:
          {{- if eq $clickhouse.mode "altinity" }}
          clickhouse.altinity.com/chi: {{ include "wattshed.clickhouse.name" . }}
          {{- else }}
          app: {{ include "wattshed.clickhouse.name" . }}-clickhouse
          {{- end }}
{{- end }}
{{- end -}}

{{/* Ports of an external server, as JSON, each once. */}}
{{- define "wattshed.clickhouse.ports" -}}
{{- $external := .Values.clickhouse.external -}}
{{- $ports := list -}}
{{- range $host := $external.hosts -}}
{{- $said := regexFind ":[0-9]+$" $host -}}
{{- $ports = append $ports (int (trimPrefix ":" $said | default (ternary "8443" "8123" $external.secure))) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
