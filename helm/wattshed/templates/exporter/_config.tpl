{{/*
Where a pool pushes to and with what, as JSON: (list $ $pool). What is not said is the collector's,
where that is this chart's. Secrets are {name, key}, or empty.
*/}}
{{- define "wattshed.exporter.push" -}}
{{- $root := index . 0 -}}
{{- $otlp := (index . 1).otlp -}}
{{- $collector := $root.Values.collector -}}
{{- $endpoint := $otlp.endpoint -}}
{{- $token := dict "name" $otlp.token.existingSecret "key" $otlp.token.key -}}
{{- $ca := dict "name" $otlp.ca.existingSecret "key" $otlp.ca.key -}}
{{- if not $endpoint -}}
  {{- $endpoint = include "wattshed.collector.url" $root -}}
  {{- if not $token.name -}}
    {{- $token = dict "name" (include "wattshed.tokens.secret" $root) "key" "ingest" -}}
  {{- end -}}
  {{- if and $collector.tls.enabled $collector.tls.caKey (not $ca.name) -}}
    {{- $ca = dict "name" $collector.tls.existingSecret "key" $collector.tls.caKey -}}
  {{- end -}}
{{- end -}}
{{- toJson (dict "endpoint" $endpoint "token" $token "ca" $ca "certificate" $otlp.certificate.existingSecret) -}}
{{- end -}}

{{/*
The configuration file of a pool: (list $ $pool $push). JSON, which is YAML, because not every Helm
writes large numbers to YAML as whole ones.
*/}}
{{- define "wattshed.exporter.config" -}}
{{- $pool := index . 1 -}}
{{- $push := index . 2 -}}
{{- $otlp := dict "endpoint" $push.endpoint -}}
{{- if $push.ca.name -}}
  {{- $_ := set $otlp "ca_file" "/etc/wattshed/ca/ca.crt" -}}
{{- end -}}
{{- if $push.certificate -}}
  {{- $_ := set $otlp "cert_file" "/etc/wattshed/certificate/tls.crt" -}}
  {{- $_ := set $otlp "key_file" "/etc/wattshed/certificate/tls.key" -}}
{{- end -}}
{{- $web := dict "listen_address" ":9741" -}}
{{- if $pool.webConfig.existingSecret -}}
  {{- $_ := set $web "config" (dict "file" (printf "/etc/wattshed/web/%s" $pool.webConfig.key)) -}}
{{- end -}}
{{- $allocations := dict -}}
{{- with $pool.slurm.jobMap -}}
  {{- $_ := set $allocations "slurm" (dict "job_map" .) -}}
{{- end -}}
{{- with $pool.docker.socket -}}
  {{- $_ := set $allocations "docker" (dict "socket" .) -}}
{{- end -}}
{{- $roots := dict "procfs" "/host/proc" "sysfs" "/host/sys" "cgroupfs" "/host/sys/fs/cgroup" -}}
{{- $made := dict "roots" $roots "web" $web "otlp" $otlp "allocations" $allocations -}}
{{- if ne $pool.spool.type "none" -}}
  {{- $_ := set $made "state_dir" "/var/lib/wattshed" -}}
{{- end -}}
{{- toPrettyJson (mergeOverwrite $made (deepCopy $pool.config)) -}}
{{- end -}}
