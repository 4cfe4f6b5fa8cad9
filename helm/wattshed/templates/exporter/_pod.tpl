{{/* The spec of a pool's pods but for their affinity: (list $ "gpu" $pool $push $config). */}}
{{- define "wattshed.exporter.pod" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $pool := index . 2 -}}
{{- $nobody := $pool.permissionInitContainer.enabled -}}
{{- if and $nobody (eq $pool.spool.type "hostPath") -}}
{{- fail "exporter.permissionInitContainer needs exporter.spool.type emptyDir or none: folders of the node belong to root" -}}
{{- end -}}
serviceAccountName: {{ include "wattshed.exporter.serviceAccount" $root }}
automountServiceAccountToken: {{ $pool.watchPods }}
enableServiceLinks: false
{{- with $pool.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $pool.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if $pool.hostPID }}
hostPID: true
{{- end }}
{{- if $pool.hostNetwork }}
hostNetwork: true
{{- end }}
dnsPolicy: {{ default (ternary "ClusterFirstWithHostNet" "ClusterFirst" $pool.hostNetwork) $pool.dnsPolicy }}
terminationGracePeriodSeconds: {{ $pool.terminationGracePeriodSeconds }}
{{- with mergeOverwrite (ternary (dict "fsGroup" 10001) dict $nobody) $pool.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- include "wattshed.pullSecrets" (list $root $pool.imagePullSecrets) }}
{{- with $pool.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pool.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or $nobody $pool.extraInitContainers }}
initContainers:
  {{- if $nobody }}
  {{- include "wattshed.exporter.permissions" (list $root $pool) | nindent 2 }}
  {{- end }}
  {{- with $pool.extraInitContainers }}
  {{- tpl (toYaml .) $root | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  {{- include "wattshed.exporter.container" . | nindent 2 }}
  {{- with $pool.extraContainers }}
  {{- tpl (toYaml .) $root | nindent 2 }}
  {{- end }}
volumes:
  {{- include "wattshed.exporter.volumes" . | nindent 2 }}
{{- end -}}

{{- define "wattshed.exporter.container" -}}
{{- $root := index . 0 -}}
{{- $pool := index . 2 -}}
{{- $push := index . 3 -}}
{{- $config := index . 4 | fromJson -}}
{{- $nobody := dict "runAsUser" 10001 "runAsGroup" 10001 "runAsNonRoot" true -}}
{{- $who := ternary $nobody dict $pool.permissionInitContainer.enabled -}}
- name: exporter
  image: {{ include "wattshed.image" (list $root $pool.image) }}
  imagePullPolicy: {{ $pool.image.pullPolicy }}
  {{- with $pool.extraArgs }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # The image's own belongs to another user, whom root without a capability is not above.
  workingDir: /
  securityContext:
    {{- toYaml (mergeOverwrite (deepCopy $pool.securityContext) $who) | nindent 4 }}
  env:
    {{- include "wattshed.exporter.env" (list $pool $push $config) | nindent 4 }}
    {{- with $pool.extraEnv }}
    {{- tpl (toYaml .) $root | nindent 4 }}
    {{- end }}
  {{- with $pool.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $config.web.listen_address }}
  ports:
    - name: metrics
      containerPort: {{ splitList ":" $config.web.listen_address | last }}
  {{- range $kind := list "startupProbe" "livenessProbe" "readinessProbe" }}
  {{- with get $pool $kind }}
  {{ $kind }}:
    {{- include "wattshed.exporter.probe" (list . $pool.webConfig.existingSecret) | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- end }}
  resources:
    {{- toYaml $pool.resources | nindent 4 }}
  volumeMounts:
    {{- include "wattshed.exporter.mounts" . | nindent 4 }}
{{- end -}}

{{/* A probe, at the port of metrics unless it names another one: (list $probe $webConfigSecret). */}}
{{- define "wattshed.exporter.probe" -}}
{{- $probe := deepCopy (index . 0) -}}
{{- if and $probe.httpGet (index . 1) (not (hasKey $probe.httpGet "scheme")) -}}
{{- $probe = set (omit $probe "httpGet") "tcpSocket" (dict "port" "metrics") -}}
{{- else if and $probe.httpGet (not (hasKey $probe.httpGet "port")) -}}
{{- $_ := set $probe.httpGet "port" "metrics" -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{- define "wattshed.exporter.env" -}}
{{- $pool := index . 0 -}}
{{- $push := index . 1 -}}
{{- $config := index . 2 -}}
- name: WATTSHED_CONFIG
  value: /etc/wattshed/config/config.yaml
# The image sets these two, and the environment beats the file.
- name: WATTSHED_STATE_DIR
  value: {{ default "" $config.state_dir | quote }}
- name: WATTSHED_WEB_LISTEN_ADDRESS
  value: {{ $config.web.listen_address | quote }}
- name: WATTSHED_NODE
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: MALLOC_ARENA_MAX
  value: "1"
{{- with $push.token }}
{{- if .name }}
- name: WATTSHED_OTLP_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .key }}}}
{{- end }}
{{- end }}
{{- with $pool.nvidia }}
{{- if .visibleDevices }}
- name: NVIDIA_VISIBLE_DEVICES
  value: {{ .visibleDevices | quote }}
- name: NVIDIA_DRIVER_CAPABILITIES
  value: {{ .driverCapabilities | quote }}
{{- end }}
{{- if .migMonitor }}
- name: NVIDIA_MIG_MONITOR_DEVICES
  value: all
{{- end }}
{{- if .driverRoot }}
# One library alone: with all of the driver's folder before its own, Python would find another libc.
- name: LD_PRELOAD
  value: /host/driver/{{ .library }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Lets group 10001 read RAPL's counters. Root owns them, so that this needs no capability. */}}
{{- define "wattshed.exporter.permissions" -}}
{{- $root := index . 0 -}}
{{- $pool := index . 1 -}}
- name: permissions
  image: {{ include "wattshed.image" (list $root $pool.image) }}
  imagePullPolicy: {{ $pool.image.pullPolicy }}
  command:
    - /opt/wattshed/bin/python
    - -c
    - |
      import os, pathlib
      for counter in pathlib.Path("/host/virtual").glob("powercap/**/energy_uj"):
          os.chown(counter, -1, 10001)
          os.chmod(counter, 0o440)
  securityContext:
    runAsUser: 0
    runAsGroup: 10001
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  resources:
    {{- toYaml $pool.permissionInitContainer.resources | nindent 4 }}
  volumeMounts:
    - {name: sys-virtual, mountPath: /host/virtual}
{{- end -}}
