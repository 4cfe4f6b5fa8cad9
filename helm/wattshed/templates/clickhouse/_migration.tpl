{{/* Annotations of a part of the migration: (list $ weight more). Of an external server it is a hook
before the release, its settings with it, because nothing of the release is there yet. */}}
{{- define "wattshed.migration.annotations" -}}
{{- $root := index . 0 -}}
{{- $all := merge (deepCopy (index . 2)) $root.Values.commonAnnotations -}}
{{- if eq $root.Values.clickhouse.mode "external" -}}
{{- $_ := set $all "helm.sh/hook" "pre-install,pre-upgrade" -}}
{{- $_ := set $all "helm.sh/hook-weight" (index . 1) -}}
{{- $_ := set $all "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
{{- end -}}
{{- with $all }}
annotations:
  {{- tpl (toYaml .) $root | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Files of the migration's settings: the store as its own user, with the retention of collectors. */}}
{{- define "wattshed.migration.settings" -}}
{{- $said := pick .Values.collector.config "retention" -}}
{{- range $who := ternary (list "migrator" "admin") (list "migrator") (eq (include "wattshed.clickhouse.makesUsers" .) "true") }}
{{ $who }}.yaml: |
  {{- mergeOverwrite (include "wattshed.clickhouse.store" (list $ $who) | fromYaml) (deepCopy $said) | toPrettyJson | nindent 2 }}
{{- end }}
{{- end -}}

{{/* All that the API server lets nobody change of a Job. */}}
{{- define "wattshed.migration.template" -}}
{{- $migration := .Values.migration -}}
metadata:
  labels:
    {{- include "wattshed.labels" (list . "migrate") | nindent 4 }}
    {{- with $migration.podLabels }}
    {{- tpl (toYaml .) $ | nindent 4 }}
    {{- end }}
  {{- with $migration.podAnnotations }}
  annotations:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
spec:
  {{- include "wattshed.migration.pod" . | nindent 2 }}
{{- end -}}

{{- define "wattshed.migration.pod" -}}
{{- $migration := .Values.migration -}}
{{- $makesUsers := include "wattshed.clickhouse.makesUsers" . -}}
{{- include "wattshed.pullSecrets" (list . .Values.collector.imagePullSecrets) }}
restartPolicy: Never
{{- with $migration.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.collector.podSecurityContext | nindent 2 }}
{{- with $migration.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $migration.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $makesUsers }}
initContainers:
  - name: users
    {{- $apply := list "wattshed" "sql" "users" "--apply" "--config" "/etc/wattshed/migration/admin.yaml" "--passwords" "/etc/wattshed/users" }}
    {{- include "wattshed.migration.container" (list . $apply "admin") | nindent 4 }}
      - {name: users, mountPath: /etc/wattshed/users, readOnly: true}
{{- end }}
containers:
  - name: migrate
    {{- $migrate := list "wattshed" "migrate" "--config" "/etc/wattshed/migration/migrator.yaml" }}
    {{- include "wattshed.migration.container" (list . $migrate "migrator") | nindent 4 }}
volumes:
  - name: config
    configMap:
      name: {{ include "wattshed.part" (list . "migrate") }}
  - name: migrator
    projected:
      defaultMode: 0440
      sources:
        {{- include "wattshed.clickhouse.sources" (list . "migrator") | nindent 8 }}
  {{- if $makesUsers }}
  - name: admin
    projected:
      defaultMode: 0440
      sources:
        {{- include "wattshed.clickhouse.sources" (list . "admin") | nindent 8 }}
  - name: users
    secret:
      secretName: {{ include "wattshed.clickhouse.secret" . }}
      defaultMode: 0440
      items:
        {{- with .Values.clickhouse.auth }}
        {{- range list .collector .migrator .grafana }}
        - {key: {{ .key }}, path: {{ .user }}}
        {{- end }}
        {{- end }}
  {{- end }}
  - name: tmp
    emptyDir: {}
{{- end -}}

{{/* (list $ command who): a container that shows the server what belongs to `who`. */}}
{{- define "wattshed.migration.container" -}}
{{- $root := index . 0 -}}
{{- $migration := $root.Values.migration -}}
image: {{ include "wattshed.image" (list $root $root.Values.collector.image) }}
imagePullPolicy: {{ $root.Values.collector.image.pullPolicy }}
# The image's own folder is of another user where the cluster chooses whom it runs as.
workingDir: /
command: {{ concat (index . 1) (list "--wait" (toString (int64 $migration.waitSeconds))) | toJson }}
env:
  # The image says otherwise of these two, and the environment beats the file.
  - name: WATTSHED_COLLECTOR_DATA
    value: {{ (include "wattshed.clickhouse.store" (list $root (index . 2)) | fromYaml).data | quote }}
  - name: WATTSHED_COLLECTOR_LISTEN
    value: 127.0.0.1:9740
  {{- with $migration.extraEnv }}
  {{- tpl (toYaml .) $root | nindent 2 }}
  {{- end }}
resources:
  {{- toYaml $migration.resources | nindent 2 }}
securityContext:
  {{- toYaml $root.Values.collector.securityContext | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/wattshed/migration, readOnly: true}
  - {name: {{ index . 2 }}, mountPath: /etc/wattshed/clickhouse, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- end -}}
