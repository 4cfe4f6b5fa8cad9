{{/* Name of the operators' objects, short enough for the names that they derive from it. */}}
{{- define "wattshed.clickhouse.name" -}}
{{- include "wattshed.fullname" . | trunc 30 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the Secret with the passwords of ClickHouse's users. */}}
{{- define "wattshed.clickhouse.secret" -}}
{{- .Values.clickhouse.auth.existingSecret | default (include "wattshed.part" (list . "clickhouse")) -}}
{{- end -}}

{{/* "true" where users have passwords: an external server may know them by certificate alone. */}}
{{- define "wattshed.clickhouse.hasPasswords" -}}
{{- if or (ne .Values.clickhouse.mode "external") .Values.clickhouse.auth.existingSecret -}}
true
{{- end -}}
{{- end -}}

{{/* "true" where the migration Job makes roles and users. */}}
{{- define "wattshed.clickhouse.makesUsers" -}}
{{- if or (has .Values.clickhouse.mode (list "altinity" "operator")) (and (eq .Values.clickhouse.mode "external") .Values.clickhouse.auth.createUsers) -}}
true
{{- end -}}
{{- end -}}

{{/* Nodes of the server, as a list under `nodes`: each by its own name, because the ledger keeps to one. */}}
{{- define "wattshed.clickhouse.nodes" -}}
{{- $name := include "wattshed.clickhouse.name" . -}}
{{- $namespace := include "wattshed.namespace" . -}}
{{- $mode := .Values.clickhouse.mode -}}
{{- $server := .Values.clickhouse.server -}}
{{- $nodes := list -}}
{{- if eq $mode "external" -}}
{{- $nodes = .Values.clickhouse.external.hosts -}}
{{- else -}}
{{- range $shard := until (int $server.shards) -}}
{{- range $replica := until (int $server.replicas) -}}
{{- if eq $mode "altinity" -}}
{{- $nodes = append $nodes (printf "chi-%s-wattshed-%d-%d.%s.svc.%s" $name $shard $replica $namespace $server.clusterDomain) -}}
{{- else -}}
{{- $nodes = append $nodes (printf "%s-clickhouse-%d-%d-0.%s-clickhouse-headless.%s.svc.%s" $name $shard $replica $name $namespace $server.clusterDomain) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "nodes" $nodes) -}}
{{- end -}}

{{/* Settings `data` and `store` for a user: (list $ "collector"), or "migrator" or "admin". */}}
{{- define "wattshed.clickhouse.store" -}}
{{- $root := index . 0 -}}
{{- $who := index . 1 -}}
{{- $clickhouse := $root.Values.clickhouse -}}
{{- $nodes := (include "wattshed.clickhouse.nodes" $root | fromYaml).nodes -}}
{{- $store := dict "user" (get $clickhouse.auth $who).user "database" $clickhouse.database -}}
{{- if include "wattshed.clickhouse.hasPasswords" $root -}}
{{- $_ := set $store "password_file" (printf "/etc/wattshed/clickhouse/%s" $who) -}}
{{- end -}}
{{- with rest $nodes -}}
{{- $_ := set $store "hosts" . -}}
{{- end -}}
{{- $scheme := "http" -}}
{{- if eq $clickhouse.mode "external" -}}
{{- $external := $clickhouse.external -}}
{{- $scheme = ternary "https" "http" $external.secure -}}
{{- if not $external.verify -}}
{{- $_ := set $store "verify" false -}}
{{- end -}}
{{- if $external.caSecret.name -}}
{{- $_ := set $store "ca_file" "/etc/wattshed/clickhouse/ca.crt" -}}
{{- end -}}
{{- if $external.clientCertificateSecret -}}
{{- $_ := set $store "cert_file" "/etc/wattshed/clickhouse/tls.crt" -}}
{{- $_ := set $store "key_file" "/etc/wattshed/clickhouse/tls.key" -}}
{{- end -}}
{{- if $external.cluster -}}
{{- $_ := set $store "cluster" $external.cluster -}}
{{- if $external.sharded -}}
{{- $_ := set $store "sharded" true -}}
{{- $_ := set $store "whole_cluster" $external.wholeCluster -}}
{{- end -}}
{{- end -}}
{{- else if $clickhouse.keeper.enabled -}}
{{- $_ := set $store "cluster" (ternary "wattshed" "default" (eq $clickhouse.mode "altinity")) -}}
{{- if gt (int $clickhouse.server.shards) 1 -}}
{{- $_ := set $store "sharded" true -}}
{{- $_ := set $store "whole_cluster" "all-replicated" -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "data" (printf "%s://%s" $scheme (first $nodes)) "store" $store) -}}
{{- end -}}

{{/* Sources of the folder with what a user shows to the server: (list $ "collector" ...). */}}
{{- define "wattshed.clickhouse.sources" -}}
{{- $root := index . 0 -}}
{{- $clickhouse := $root.Values.clickhouse -}}
{{- if include "wattshed.clickhouse.hasPasswords" $root }}
- secret:
    name: {{ include "wattshed.clickhouse.secret" $root }}
    items:
      {{- range $who := rest . }}
      - {key: {{ (get $clickhouse.auth $who).key }}, path: {{ $who }}}
      {{- end }}
{{- end }}
{{- if eq $clickhouse.mode "external" }}
{{- with $clickhouse.external.caSecret }}
{{- if .name }}
- secret:
    name: {{ .name }}
    items:
      - {key: {{ .key }}, path: ca.crt}
{{- end }}
{{- end }}
{{- with $clickhouse.external.clientCertificateSecret }}
- secret:
    name: {{ . }}
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
{{- end }}
{{- end }}
{{- end -}}

{{/* Claim spec of the operators' volumes: (list size storageClass). */}}
{{- define "wattshed.clickhouse.claim" -}}
accessModes: [ReadWriteOnce]
{{- with index . 1 }}
storageClassName: {{ ternary "" . (eq . "-") | quote }}
{{- end }}
resources:
  requests:
    storage: {{ index . 0 }}
{{- end -}}
