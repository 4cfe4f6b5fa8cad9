{{/*
What of the node is mounted, each read-only, as JSON: (list $ $pool). A list of {name, path, at}, and
deep where there may be mounts below it.
*/}}
{{- define "wattshed.exporter.hostPaths" -}}
{{- $pool := index . 1 -}}
{{- $paths := list (dict "name" "proc" "path" "/proc" "at" "/host/proc" "deep" true) -}}
{{- range $pool.sysfs -}}
  {{- $name := printf "sys-%s" (replace "/" "-" .) -}}
  {{- $paths = append $paths (dict "name" $name "path" (printf "/sys/%s" .) "at" (printf "/host/sys/%s" .) "deep" true) -}}
{{- end -}}
{{- $kubelet := printf "%s/pod-resources" $pool.kubeletPath -}}
{{- $paths = append $paths (dict "name" "pod-resources" "path" $kubelet "at" "/var/lib/kubelet/pod-resources") -}}
{{- if not $pool.watchPods -}}
  {{- $paths = append $paths (dict "name" "pod-logs" "path" "/var/log/pods" "at" "/var/log/pods") -}}
{{- end -}}
{{- with $pool.slurm.jobMap -}}
  {{- $paths = append $paths (dict "name" "job-map" "path" . "at" .) -}}
{{- end -}}
{{- with $pool.docker.socket -}}
  {{- $paths = append $paths (dict "name" "docker" "path" . "at" . "type" "Socket") -}}
{{- end -}}
{{- with $pool.nvidia.driverRoot -}}
  {{- $paths = append $paths (dict "name" "driver" "path" . "at" "/host/driver") -}}
{{- end -}}
{{- toJson $paths -}}
{{- end -}}

{{- define "wattshed.exporter.volumes" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $pool := index . 2 -}}
{{- $push := index . 3 -}}
- name: config
  configMap: {name: {{ include "wattshed.part" (list $root (printf "exporter-%s" $name)) }}}
{{- if $push.ca.name }}
- name: ca
  secret: {secretName: {{ $push.ca.name }}, items: [{key: {{ $push.ca.key }}, path: ca.crt}]}
{{- end }}
{{- with $push.certificate }}
- name: certificate
  secret: {secretName: {{ . }}}
{{- end }}
{{- with $pool.webConfig.existingSecret }}
- name: web
  secret: {secretName: {{ . }}}
{{- end }}
{{- if eq $pool.spool.type "hostPath" }}
- name: spool
  hostPath:
    path: {{ $pool.spool.hostPath }}/{{ include "wattshed.namespace" $root }}-{{ include "wattshed.fullname" $root }}
    type: DirectoryOrCreate
{{- else if eq $pool.spool.type "emptyDir" }}
- name: spool
  emptyDir: {sizeLimit: {{ $pool.spool.sizeLimit }}}
{{- end }}
{{- if $pool.permissionInitContainer.enabled }}
- name: sys-virtual
  hostPath: {path: /sys/devices/virtual}
{{- end }}
{{- range include "wattshed.exporter.hostPaths" (list $root $pool) | fromJsonArray }}
- name: {{ .name }}
  hostPath:
    path: {{ .path }}
    {{- with .type }}
    type: {{ . }}
    {{- end }}
{{- end }}
{{- with $pool.extraVolumes }}
{{ tpl (toYaml .) $root }}
{{- end }}
{{- end -}}

{{- define "wattshed.exporter.mounts" -}}
{{- $root := index . 0 -}}
{{- $pool := index . 2 -}}
{{- $push := index . 3 -}}
{{- $recursive := and $pool.recursiveReadOnly (not $pool.mountPropagation) (semverCompare ">=1.30.0-0" $root.Capabilities.KubeVersion.Version) -}}
- {name: config, mountPath: /etc/wattshed/config, readOnly: true}
{{- if $push.ca.name }}
- {name: ca, mountPath: /etc/wattshed/ca, readOnly: true}
{{- end }}
{{- if $push.certificate }}
- {name: certificate, mountPath: /etc/wattshed/certificate, readOnly: true}
{{- end }}
{{- if $pool.webConfig.existingSecret }}
- {name: web, mountPath: /etc/wattshed/web, readOnly: true}
{{- end }}
{{- if ne $pool.spool.type "none" }}
- {name: spool, mountPath: /var/lib/wattshed}
{{- end }}
{{- range include "wattshed.exporter.hostPaths" (list $root $pool) | fromJsonArray }}
- name: {{ .name }}
  mountPath: {{ .at }}
  readOnly: true
  {{- if and .deep $recursive }}
  recursiveReadOnly: {{ $pool.recursiveReadOnly }}
  {{- else if and .deep $pool.mountPropagation }}
  mountPropagation: {{ $pool.mountPropagation }}
  {{- end }}
{{- end }}
{{- with $pool.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
