{{/* Ends with a clear message where values of the collector or the store contradict each other. */}}
{{- define "wattshed.refusals" -}}
{{- $collector := .Values.collector -}}
{{- $clickhouse := .Values.clickhouse -}}
{{- $scales := $collector.autoscaling.enabled -}}
{{- if not $collector.enabled -}}
{{- $exporter := .Values.exporter -}}
{{- range $name, $pool := $exporter.pools -}}
{{- if and $exporter.enabled (dig "enabled" true $pool) (not (dig "otlp" "endpoint" $exporter.otlp.endpoint $pool)) -}}
{{- fail (printf "exporter.otlp.endpoint: the pool %s has nowhere to push to, because collector.enabled is false" $name) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- if eq $clickhouse.mode "embedded" -}}
{{- if gt (int $collector.replicas) 1 -}}
{{- fail "collector.replicas: the embedded store has one collector; set clickhouse.mode to external, altinity or operator (docs/CLICKHOUSE.md)" -}}
{{- end -}}
{{- if $scales -}}
{{- fail "collector.autoscaling.enabled: the embedded store has one collector; set clickhouse.mode to external, altinity or operator (docs/CLICKHOUSE.md)" -}}
{{- end -}}
{{- end -}}
{{- if and $scales (lt (int $collector.autoscaling.maxReplicas) (int $collector.autoscaling.minReplicas)) -}}
{{- fail "collector.autoscaling.maxReplicas: is below minReplicas" -}}
{{- end -}}
{{- if and $scales $collector.persistence.enabled (eq $collector.persistence.whenScaled "Delete") -}}
{{- fail "collector.persistence.whenScaled: Delete loses what a spool still holds whenever autoscaling takes a collector away; leave it at Retain" -}}
{{- end -}}
{{- if and $collector.persistence.existingClaim (include "wattshed.collector.several" .) -}}
{{- fail "collector.persistence.existingClaim: is for one collector; leave it empty, and each gets a claim of its own" -}}
{{- end -}}
{{- if and $collector.tls.enabled (not $collector.tls.existingSecret) -}}
{{- fail "collector.tls.existingSecret: https needs a Secret with certificate and key" -}}
{{- end -}}
{{- if and $collector.tls.clientCaKey (not $collector.tls.enabled) -}}
{{- fail "collector.tls.clientCaKey: client certificates are part of TLS; set collector.tls.enabled" -}}
{{- end -}}
{{- if and $collector.security.certificates (not $collector.tls.clientCaKey) -}}
{{- fail "collector.security.certificates: needs collector.tls.clientCaKey, whose authorities signed them" -}}
{{- end -}}
{{- if and $collector.ingress.enabled (not $collector.ingress.hosts) -}}
{{- fail "collector.ingress.hosts: name at least one" -}}
{{- end -}}
{{- if and $collector.httpRoute.enabled (not $collector.httpRoute.parentRefs) -}}
{{- fail "collector.httpRoute.parentRefs: name the Gateway" -}}
{{- end -}}
{{- if and $collector.kubernetesDiscovery.annotatedPods (not $collector.kubernetesDiscovery.enabled) -}}
{{- fail "collector.kubernetesDiscovery.annotatedPods: needs collector.kubernetesDiscovery.enabled, which gives the rights" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled $collector.kubernetesDiscovery.enabled (not (or .Values.networkPolicy.scrapeTargets .Values.networkPolicy.extraEgress)) -}}
{{- fail "networkPolicy.scrapeTargets: name what collector.kubernetesDiscovery may find, or the policy keeps every scrape in" -}}
{{- end -}}
{{- include "wattshed.clickhouse.refusals" . -}}
{{- end -}}
{{- end -}}

{{- define "wattshed.clickhouse.refusals" -}}
{{- $clickhouse := .Values.clickhouse -}}
{{- $auth := $clickhouse.auth -}}
{{- if eq $clickhouse.mode "external" -}}
{{- if not $clickhouse.external.hosts -}}
{{- fail "clickhouse.external.hosts: name the server, as host or host:port" -}}
{{- end -}}
{{- if not (or $auth.existingSecret $clickhouse.external.clientCertificateSecret) -}}
{{- fail "clickhouse.auth.existingSecret: name a Secret with the users' passwords (or clickhouse.external.clientCertificateSecret); the chart has none of an external server" -}}
{{- end -}}
{{- if and $clickhouse.external.sharded (not $clickhouse.external.cluster) -}}
{{- fail "clickhouse.external.sharded: needs the name of the cluster in clickhouse.external.cluster" -}}
{{- end -}}
{{- if and $clickhouse.external.clientCertificateSecret (not $clickhouse.external.secure) -}}
{{- fail "clickhouse.external.clientCertificateSecret: needs clickhouse.external.secure" -}}
{{- end -}}
{{- if and $auth.createUsers (not $auth.existingSecret) -}}
{{- fail "clickhouse.auth.createUsers: needs clickhouse.auth.existingSecret with the passwords, that of the admin among them" -}}
{{- end -}}
{{- end -}}
{{- if and $auth.createUsers (not .Values.migration.enabled) -}}
{{- fail "clickhouse.auth.createUsers: the migration Job makes them; set migration.enabled" -}}
{{- end -}}
{{- if include "wattshed.clickhouse.makesUsers" . -}}
{{- range $part, $name := dict "collector" "wattshed_collector" "migrator" "wattshed_migrate" "grafana" "wattshed_grafana" -}}
{{- if ne (get $auth $part).user $name -}}
{{- fail (printf "clickhouse.auth.%s.user: the user that the migration Job makes is called %s" $part $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if has $clickhouse.mode (list "altinity" "operator") -}}
{{- if not .Values.migration.enabled -}}
{{- fail "migration.enabled: with an operator the migration Job makes the users; leave it on" -}}
{{- end -}}
{{- if not $clickhouse.keeper.enabled -}}
{{- if eq $clickhouse.mode "operator" -}}
{{- fail "clickhouse.keeper.enabled: a ClickHouseCluster has to have a Keeper" -}}
{{- end -}}
{{- if gt (mul $clickhouse.server.replicas $clickhouse.server.shards) 1 -}}
{{- fail "clickhouse.keeper.enabled: more than one server needs a Keeper" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
