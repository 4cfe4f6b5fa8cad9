{{/* The spec of a collector's pod. */}}
{{- define "wattshed.collector.pod" -}}
{{- $collector := .Values.collector -}}
{{- include "wattshed.pullSecrets" (list . $collector.imagePullSecrets) }}
serviceAccountName: {{ include "wattshed.collector.serviceAccount" . }}
automountServiceAccountToken: {{ $collector.kubernetesDiscovery.enabled }}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ int64 $collector.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml $collector.podSecurityContext | nindent 2 }}
{{- with $collector.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $collector.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $collector.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $collector.affinity }}
affinity:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- if and $collector.topologySpreadConstraints (include "wattshed.collector.several" .) }}
topologySpreadConstraints:
  {{- range $collector.topologySpreadConstraints }}
  - {{ toYaml (omit . "labelSelector") | nindent 4 | trim }}
    labelSelector:
      {{- if .labelSelector }}
      {{- toYaml .labelSelector | nindent 6 }}
      {{- else }}
      matchLabels:
        {{- include "wattshed.selectorLabels" (list $ "collector") | nindent 8 }}
      {{- end }}
  {{- end }}
{{- end }}
{{- with $collector.initContainers }}
initContainers:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
containers:
  - {{ include "wattshed.collector.container" . | nindent 4 | trim }}
  {{- with $collector.extraContainers }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
volumes:
  {{- include "wattshed.collector.volumes" . | nindent 2 }}
{{- end -}}

{{- define "wattshed.collector.container" -}}
{{- $collector := .Values.collector -}}
{{- $config := include "wattshed.collector.config" . | fromJson -}}
name: collector
image: {{ include "wattshed.image" (list . $collector.image) }}
imagePullPolicy: {{ $collector.image.pullPolicy }}
args: [--config, /etc/wattshed/collector/collector.yaml]
env:
  # The image sets these two, and the environment beats the file.
  - name: WATTSHED_COLLECTOR_DATA
    value: {{ $config.data | quote }}
  - name: WATTSHED_COLLECTOR_LISTEN
    value: {{ $config.listen | quote }}
  {{- with $collector.extraEnv }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- with $collector.extraEnvFrom }}
envFrom:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
ports:
  - {name: http, containerPort: {{ splitList ":" $config.listen | last }}, protocol: TCP}
{{- range $probe, $path := dict "startup" "/healthz" "liveness" "/healthz" "readiness" "/readyz" }}
{{ $probe }}Probe:
  {{- include "wattshed.collector.asked" (list $ $path) | nindent 2 }}
  {{- toYaml (get $collector (printf "%sProbe" $probe)) | nindent 2 }}
{{- end }}
{{- if and $collector.preStopSeconds (ne .Values.clickhouse.mode "embedded") }}
lifecycle:
  preStop:
    exec:
      command: [python, -c, "import time; time.sleep({{ $collector.preStopSeconds }})"]
{{- end }}
resources:
  {{- toYaml $collector.resources | nindent 2 }}
securityContext:
  {{- toYaml $collector.securityContext | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/wattshed/collector, readOnly: true}
  - {name: security, mountPath: /etc/wattshed/security, readOnly: true}
  {{- if $collector.slos }}
  - {name: slos, mountPath: /etc/wattshed/slos, readOnly: true}
  {{- end }}
  {{- if $collector.tls.enabled }}
  - {name: tls, mountPath: /etc/wattshed/tls, readOnly: true}
  {{- end }}
  {{- if ne .Values.clickhouse.mode "embedded" }}
  - {name: clickhouse, mountPath: /etc/wattshed/clickhouse, readOnly: true}
  {{- end }}
  - {name: data, mountPath: /var/lib/wattshed}
  - {name: tmp, mountPath: /tmp}
  {{- with $collector.extraVolumeMounts }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "wattshed.collector.volumes" -}}
{{- $collector := .Values.collector -}}
- name: config
  configMap:
    name: {{ include "wattshed.part" (list . "collector") }}
# The collector reads its tokens only where nobody but owner and group may (fsGroup).
- name: security
  projected:
    defaultMode: 0440
    sources:
      {{- include "wattshed.collector.securitySources" . | nindent 6 }}
{{- if $collector.slos }}
- name: slos
  configMap:
    name: {{ include "wattshed.part" (list . "collector-slos") }}
{{- end }}
{{- with $collector.tls }}
{{- if .enabled }}
- name: tls
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - {key: {{ .certKey }}, path: tls.crt}
      - {key: {{ .keyKey }}, path: tls.key}
      {{- if .clientCaKey }}
      - {key: {{ .clientCaKey }}, path: clients.crt}
      {{- end }}
{{- end }}
{{- end }}
{{- if ne .Values.clickhouse.mode "embedded" }}
- name: clickhouse
  projected:
    defaultMode: 0440
    sources:
      {{- include "wattshed.clickhouse.sources" (list . "collector") | nindent 6 }}
{{- end }}
{{- if not $collector.persistence.enabled }}
- name: data
  emptyDir:
    sizeLimit: {{ $collector.persistence.size }}
{{- else if $collector.persistence.existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ $collector.persistence.existingClaim }}
{{- end }}
- name: tmp
  emptyDir: {}
{{- with $collector.extraVolumes }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}
