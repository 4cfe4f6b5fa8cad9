{{/* Spec of the ClickHouseCluster. The operator gives the user `default` every right and, unless it is
told otherwise, no password: here it has the admin's. */}}
{{- define "wattshed.clickhouse.cluster" -}}
{{- $clickhouse := .Values.clickhouse -}}
{{- $server := $clickhouse.server -}}
{{- $admin := $clickhouse.auth.admin -}}
{{- $secret := include "wattshed.clickhouse.secret" . -}}
replicas: {{ $server.replicas }}
shards: {{ $server.shards }}
clusterDomain: {{ $server.clusterDomain }}
keeperClusterRef:
  name: {{ include "wattshed.clickhouse.name" . }}
dataVolumeClaimSpec:
  {{- include "wattshed.clickhouse.claim" (list $server.size $server.storageClass) | nindent 2 }}
{{- include "wattshed.clickhouse.operatorPod" (list . $server) }}
  env:
    - name: WATTSHED_ADMIN_PASSWORD
      valueFrom:
        secretKeyRef: {name: {{ $secret }}, key: {{ $admin.key }}}
settings:
  defaultUserPassword:
    passwordType: password
    secret: {name: {{ $secret }}, key: {{ $admin.key }}}
  logger: {level: information}
  extraUsersConfig:
    users:
      {{ $admin.user }}:
        password:
          - "@from_env": WATTSHED_ADMIN_PASSWORD
        profile: {{ $admin.user }}
        access_management: 1
    profiles:
      # Users are kept in the Keeper, once for all nodes.
      {{ $admin.user }}: {ignore_on_cluster_for_replicated_access_entities_queries: 1}
  {{- if gt (int $server.shards) 1 }}
  extraConfig:
    remote_servers:
      all-replicated:
        secret: {"@from_env": CLICKHOUSE_CLUSTER_SECRET}
        shard:
          - internal_replication: true
            replica:
              {{- range $node := (include "wattshed.clickhouse.nodes" . | fromYaml).nodes }}
              - {host: {{ $node }}, port: 9001}
              {{- end }}
  {{- end }}
{{- end -}}

{{- define "wattshed.clickhouse.keeperCluster" -}}
{{- $keeper := .Values.clickhouse.keeper -}}
replicas: {{ $keeper.replicas }}
clusterDomain: {{ .Values.clickhouse.server.clusterDomain }}
dataVolumeClaimSpec:
  {{- include "wattshed.clickhouse.claim" (list $keeper.size $keeper.storageClass) | nindent 2 }}
{{- include "wattshed.clickhouse.operatorPod" (list . $keeper) }}
settings:
  logger: {level: information}
{{- end -}}

{{/* Pod and container of the operator: (list $ values). It adds IPC_LOCK, PERFMON and SYS_PTRACE. */}}
{{- define "wattshed.clickhouse.operatorPod" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
{{- $image := $values.image -}}
{{- $registry := default $image.registry $root.Values.global.imageRegistry }}
podTemplate:
  {{- include "wattshed.pullSecrets" (list $root list) | nindent 2 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 101
    runAsGroup: 101
    fsGroup: 101
    seccompProfile: {type: RuntimeDefault}
containerTemplate:
  image:
    repository: {{ with $registry }}{{ . }}/{{ end }}{{ $image.repository }}
    {{- if $image.digest }}
    hash: {{ $image.digest }}
    {{- else }}
    tag: {{ $image.tag | quote }}
    {{- end }}
  imagePullPolicy: {{ $image.pullPolicy }}
  resources:
    {{- toYaml $values.resources | nindent 4 }}
{{- end -}}
