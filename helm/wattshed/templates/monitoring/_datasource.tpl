{{/* What Grafana asks, and which Secret has the password, as YAML: url, database, user, secret, key, words (what is in a
     Secret of the chart's own), verify. */}}
{{- define "wattshed.datasource.source" -}}
{{- $own := .Values.grafana.datasource -}}
{{- $clickhouse := .Values.clickhouse -}}
{{- if eq $clickhouse.mode "embedded" -}}
{{- if not (or .Values.collector.enabled (and $own.url (or $own.existingSecret $own.passwordVariable))) -}}
{{- fail "grafana.datasource: without a collector in this release, url and existingSecret or passwordVariable say what Grafana asks" -}}
{{- end -}}
url: {{ default (printf "%s/clickhouse" (include "wattshed.collector.url" .)) $own.url }}
database: {{ default "default" $own.database }}
user: {{ default "grafana" $own.username }}
secret: {{ default (include "wattshed.tokens.secret" .) $own.existingSecret }}
key: {{ default "read" $own.key }}
verify: true
made: {{ not (or $own.existingSecret .Values.collector.tokens.existingSecret) }}
{{- else -}}
{{- $external := eq $clickhouse.mode "external" -}}
{{- $secure := and $external $clickhouse.external.secure -}}
{{- $node := first (include "wattshed.clickhouse.nodes" . | fromYaml).nodes -}}
{{- $port := regexMatch ":[0-9]+$" $node | ternary "" (ternary ":8443" ":8123" $secure) -}}
url: {{ default (printf "%s://%s%s" (ternary "https" "http" $secure) $node $port) $own.url }}
database: {{ default $clickhouse.database $own.database }}
user: {{ default $clickhouse.auth.grafana.user $own.username }}
secret: {{ default (include "wattshed.clickhouse.secret" .) $own.existingSecret }}
key: {{ default $clickhouse.auth.grafana.key $own.key }}
verify: {{ or (not $external) $clickhouse.external.verify }}
made: {{ not (or $external $own.existingSecret $clickhouse.auth.existingSecret) }}
{{- end -}}
{{- end -}}

{{/* Settings of the plug-in, as JSON: (list $ source). */}}
{{- define "wattshed.datasource.settings" -}}
{{- $own := (index . 0).Values.grafana.datasource -}}
{{- $source := index . 1 -}}
{{- $url := urlParse $source.url -}}
{{- $secure := eq $url.scheme "https" -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" $secure) -}}
{{- $settings := dict "protocol" "http" "host" (regexReplaceAll ":[0-9]+$" $url.host "") "port" (int $port) "path" (trimSuffix "/" $url.path) "secure" $secure -}}
{{- $_ := merge $settings (dict "username" $source.user "defaultDatabase" $source.database "queryTimeout" (toString $own.queryTimeout) "enableMapKeysDiscovery" false) -}}
{{- if not $source.verify -}}
{{- $_ := set $settings "tlsSkipVerify" true -}}
{{- end -}}
{{- if $own.caCertificate -}}
{{- $_ := set $settings "tlsAuthWithCACert" true -}}
{{- end -}}
{{- mergeOverwrite $settings $own.jsonData | toJson -}}
{{- end -}}

{{/* The password, or the variable of Grafana's environment that has it: (list $ source). */}}
{{- define "wattshed.datasource.password" -}}
{{- $root := index . 0 -}}
{{- $own := $root.Values.grafana.datasource -}}
{{- $source := index . 1 -}}
{{- if $own.passwordVariable -}}
${{ $own.passwordVariable }}
{{- else if $source.made -}}
{{- get (include "wattshed.words" (list $root $source.secret (include "wattshed.datasource.keys" $root | splitList " ")) | fromJson) $source.key | b64dec -}}
{{- else -}}
{{- $there := get (lookup "v1" "Secret" (include "wattshed.namespace" $root) $source.secret | default dict) "data" | default dict -}}
{{- if not (hasKey $there $source.key) -}}
{{- fail (printf "grafana.datasource: the Secret %s with the key %s cannot be read here: make it before, or give Grafana the password in its environment and name that in grafana.datasource.passwordVariable" $source.secret $source.key) -}}
{{- end -}}
{{- /* Grafana takes $x for a variable of its environment. */ -}}
{{- get $there $source.key | b64dec | replace "$" "$$" -}}
{{- end -}}
{{- end -}}

{{/* The keys of the Secret that the chart makes. */}}
{{- define "wattshed.datasource.keys" -}}
{{- $auth := .Values.clickhouse.auth -}}
{{- ternary "ingest read metrics admin" (join " " (list $auth.admin.key $auth.migrator.key $auth.collector.key $auth.grafana.key)) (eq .Values.clickhouse.mode "embedded") -}}
{{- end -}}
