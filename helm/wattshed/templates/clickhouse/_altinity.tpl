{{/* Spec of the ClickHouseInstallation. Its admin may come from anywhere with the password; the user
`default` only from the installation itself, which is the operator's own default. */}}
{{- define "wattshed.clickhouse.installation" -}}
{{- $clickhouse := .Values.clickhouse -}}
{{- $server := $clickhouse.server -}}
{{- $admin := $clickhouse.auth.admin -}}
defaults:
  templates:
    podTemplate: server
    dataVolumeClaimTemplate: data
configuration:
  {{- if $clickhouse.keeper.enabled }}
  zookeeper:
    nodes:
      - host: keeper-{{ include "wattshed.clickhouse.name" . }}
        port: 2181
  {{- end }}
  users:
    {{ $admin.user }}/password:
      valueFrom:
        secretKeyRef:
          name: {{ include "wattshed.clickhouse.secret" . }}
          key: {{ $admin.key }}
    {{ $admin.user }}/networks/ip: ["::/0"]
    {{ $admin.user }}/profile: default
    {{ $admin.user }}/access_management: 1
  clusters:
    - name: wattshed
      # Queries between shards run as who asked.
      secret: {auto: "true"}
      layout:
        shardsCount: {{ $server.shards }}
        replicasCount: {{ $server.replicas }}
templates:
  podTemplates:
    - name: server
      spec:
        {{- include "wattshed.clickhouse.altinityPod" (list . "clickhouse" $server) | nindent 8 }}
  volumeClaimTemplates:
    - name: data
      reclaimPolicy: Retain
      spec:
        {{- include "wattshed.clickhouse.claim" (list $server.size $server.storageClass) | nindent 8 }}
{{- end -}}

{{- define "wattshed.clickhouse.keeperInstallation" -}}
{{- $keeper := .Values.clickhouse.keeper -}}
defaults:
  templates:
    podTemplate: keeper
    dataVolumeClaimTemplate: data
configuration:
  clusters:
    - name: wattshed
      layout:
        replicasCount: {{ $keeper.replicas }}
templates:
  podTemplates:
    - name: keeper
      spec:
        {{- include "wattshed.clickhouse.altinityPod" (list . "clickhouse-keeper" $keeper) | nindent 8 }}
  volumeClaimTemplates:
    - name: data
      reclaimPolicy: Retain
      spec:
        {{- include "wattshed.clickhouse.claim" (list $keeper.size $keeper.storageClass) | nindent 8 }}
{{- end -}}

{{/* A pod of the operator that passes PodSecurity restricted: (list $ container values). */}}
{{- define "wattshed.clickhouse.altinityPod" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
{{- include "wattshed.pullSecrets" (list $root list) }}
securityContext:
  runAsNonRoot: true
  runAsUser: 101
  runAsGroup: 101
  fsGroup: 101
  seccompProfile: {type: RuntimeDefault}
containers:
  - name: {{ index . 1 }}
    image: {{ include "wattshed.image" (list $root $values.image) }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    resources:
      {{- toYaml $values.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
{{- end -}}
