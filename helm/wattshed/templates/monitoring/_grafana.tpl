{{/* What objects of grafana-operator have in common: .Values.x.operator. */}}
{{- define "wattshed.grafanaOperator" -}}
instanceSelector:
  matchLabels:
    {{- toYaml .matchLabels | nindent 4 }}
allowCrossNamespaceImport: {{ .allowCrossNamespaceImport }}
resyncPeriod: {{ .resyncPeriod }}
{{- end -}}
