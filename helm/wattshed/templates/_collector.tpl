{{/* Scheme by which the collector is spoken to. */}}
{{- define "wattshed.collector.scheme" -}}
{{- ternary "https" "http" .Values.collector.tls.enabled -}}
{{- end -}}

{{/* The collector's URL inside the cluster. */}}
{{- define "wattshed.collector.url" -}}
{{- include "wattshed.collector.scheme" . }}://{{ include "wattshed.part" (list . "collector") }}.{{ include "wattshed.namespace" . }}.svc:{{ .Values.collector.service.port }}
{{- end -}}

{{/* Name of the Secret with the tokens ingest, read, metrics and admin. */}}
{{- define "wattshed.tokens.secret" -}}
{{- .Values.collector.tokens.existingSecret | default (include "wattshed.part" (list . "tokens")) -}}
{{- end -}}

{{- define "wattshed.collector.serviceAccount" -}}
{{- $account := .Values.collector.serviceAccount -}}
{{- if $account.create -}}
{{- default (include "wattshed.part" (list . "collector")) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{/* "true" where there may be more than one collector. */}}
{{- define "wattshed.collector.several" -}}
{{- $collector := .Values.collector -}}
{{- if or (and $collector.autoscaling.enabled (gt (int $collector.autoscaling.maxReplicas) 1)) (and (not $collector.autoscaling.enabled) (gt (int $collector.replicas) 1)) -}}
true
{{- end -}}
{{- end -}}

{{/* "true" where rows are spooled on a disk while a server is away. */}}
{{- define "wattshed.collector.spools" -}}
{{- if and (ne .Values.clickhouse.mode "embedded") (or .Values.collector.persistence.enabled .Values.collector.spool.ephemeral) -}}
true
{{- end -}}
{{- end -}}

{{/* collector.yaml: what the chart sets, and over it collector.config. JSON, which is YAML, because not
every Helm writes large numbers to YAML as whole ones. */}}
{{- define "wattshed.collector.config" -}}
{{- $collector := .Values.collector -}}
{{- $security := dict "file" "/etc/wattshed/security/security.yaml" -}}
{{- if $collector.tls.enabled -}}
{{- $_ := set $security "cert_file" "/etc/wattshed/tls/tls.crt" -}}
{{- $_ := set $security "key_file" "/etc/wattshed/tls/tls.key" -}}
{{- if $collector.tls.clientCaKey -}}
{{- $_ := set $security "client_ca_file" "/etc/wattshed/tls/clients.crt" -}}
{{- $_ := set $security "client_certificates" $collector.tls.clientCertificates -}}
{{- end -}}
{{- end -}}
{{- $config := dict "listen" "0.0.0.0:9740" "security" $security -}}
{{- if eq .Values.clickhouse.mode "embedded" -}}
{{- $_ := set $config "data" "/var/lib/wattshed" -}}
{{- else -}}
{{- $store := include "wattshed.clickhouse.store" (list . "collector") | fromYaml -}}
{{- $_ := set $store.store "migrate" (ternary "wait" "auto" .Values.migration.enabled) -}}
{{- $config = merge $config $store -}}
{{- $spools := include "wattshed.collector.spools" . -}}
{{- $_ := set $config "durability" (dict "spool_folder" (ternary "/var/lib/wattshed/spool" nil (eq $spools "true")) "spool_bytes" (int64 $collector.spool.bytes)) -}}
{{- $_ := set $config "dead_letters" (dict "folder" "/var/lib/wattshed/dead-letters") -}}
{{- end -}}
{{- if $collector.slos -}}
{{- $_ := set $config "slo" (dict "file" "/etc/wattshed/slos/slos.yaml") -}}
{{- end -}}
{{- if $collector.topology -}}
{{- $_ := set $config "topology" (dict "file" "/etc/wattshed/collector/topology.yaml") -}}
{{- end -}}
{{- $config = mergeOverwrite $config (deepCopy $collector.config) -}}
{{- if $collector.kubernetesDiscovery.annotatedPods -}}
{{- $discovery := dict "role" "pod" "annotations" true -}}
{{- with $collector.kubernetesDiscovery.namespaces -}}
{{- $_ := set $discovery "namespaces" . -}}
{{- end -}}
{{- $scrape := get $config "scrape" | default dict -}}
{{- $job := dict "name" "annotated-pods" "kubernetes_sd" (list $discovery) -}}
{{- $_ := set $scrape "jobs" (concat (list $job) (get $scrape "jobs" | default list)) -}}
{{- $_ := set $config "scrape" $scrape -}}
{{- end -}}
{{- toPrettyJson $config -}}
{{- end -}}

{{/* security.yaml of the values; tokens are files beside it. */}}
{{- define "wattshed.collector.security" -}}
{{- $collector := .Values.collector -}}
{{- $tokens := list -}}
{{- range $role := list "ingest" "read" "metrics" "admin" -}}
{{- $entry := dict "name" $role "file" (printf "%s.token" $role) "roles" (list $role) -}}
{{- if and (eq $role "ingest") $collector.tokens.clusters -}}
{{- $_ := set $entry "clusters" $collector.tokens.clusters -}}
{{- end -}}
{{- $tokens = append $tokens $entry -}}
{{- end -}}
{{- range $collector.security.tokens -}}
{{- $entry := omit . "existingSecret" -}}
{{- if .existingSecret -}}
{{- $_ := set $entry "file" (printf "more-%s.token" .name) -}}
{{- end -}}
{{- $tokens = append $tokens $entry -}}
{{- end -}}
{{- $file := dict "tokens" $tokens -}}
{{- range $part := list "anonymous" "users" "certificates" -}}
{{- with get $collector.security $part -}}
{{- $_ := set $file $part . -}}
{{- end -}}
{{- end -}}
{{- toPrettyJson $file -}}
{{- end -}}

{{/* Sources of the folder with security.yaml and the tokens. */}}
{{- define "wattshed.collector.securitySources" -}}
{{- $security := .Values.collector.security -}}
- secret:
    name: {{ include "wattshed.tokens.secret" . }}
    items:
      {{- range $role := list "ingest" "read" "metrics" "admin" }}
      - {key: {{ $role }}, path: {{ $role }}.token}
      {{- end }}
- secret:
    name: {{ $security.existingSecret | default (include "wattshed.part" (list . "security")) }}
{{- if and $security.existingSecret (ne $security.key "security.yaml") }}
- secret:
    name: {{ $security.existingSecret }}
    items:
      - {key: {{ $security.key }}, path: security.yaml}
{{- end }}
{{- if not $security.existingSecret }}
{{- range $security.tokens }}
{{- if .existingSecret }}
- secret:
    name: {{ .existingSecret.name }}
    items:
      - {key: {{ .existingSecret.key | default "token" }}, path: more-{{ .name }}.token}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* How a probe asks: (list $ path). Whoever must show a certificate cannot be a kubelet. */}}
{{- define "wattshed.collector.asked" -}}
{{- $tls := (index . 0).Values.collector.tls -}}
{{- if and $tls.enabled $tls.clientCaKey (eq $tls.clientCertificates "required") -}}
tcpSocket: {port: http}
{{- else -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  scheme: {{ include "wattshed.collector.scheme" (index . 0) | upper }}
{{- end -}}
{{- end -}}

{{/* Files of the ConfigMap; a change of them needs a restart. */}}
{{- define "wattshed.collector.settings" -}}
collector.yaml: |
  {{- include "wattshed.collector.config" . | nindent 2 }}
{{- with .Values.collector.topology }}
topology.yaml: |
  {{- toPrettyJson (dict "parents" .) | nindent 2 }}
{{- end }}
{{- end -}}
