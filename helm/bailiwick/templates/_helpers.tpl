{{- define "bailiwick.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What selects this release's pods. */}}
{{- define "bailiwick.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bailiwick.labels" -}}
{{ include "bailiwick.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of pods: nothing that an upgrade of the chart changes, so that it restarts nothing that stays the same. */}}
{{- define "bailiwick.podLabels" -}}
{{ include "bailiwick.selector" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "bailiwick.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else -}}
{{- ternary (include "bailiwick.fullname" .) "default" .Values.serviceAccount.create -}}
{{- end -}}
{{- end -}}

{{- define "bailiwick.image" -}}
{{- $i := .Values.image -}}
{{- with $i.registry }}{{ . }}/{{ end -}}
{{- $i.repository -}}
{{- if $i.digest }}@{{ $i.digest }}{{ else }}:{{ default .Chart.AppVersion $i.tag }}{{ end -}}
{{- end -}}

{{- define "bailiwick.coordinatorHost" -}}
{{ include "bailiwick.fullname" . }}-coordinator.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{/* The values of one agent over the defaults. Takes (dict "root" $ "site" NAME). */}}
{{- define "bailiwick.agent" -}}
{{- mergeOverwrite (deepCopy .root.Values.agentDefaults) (default dict (get .root.Values.agents .site)) | toYaml -}}
{{- end -}}

{{/* Where sources are mounted: each in a place of its own that is not the agent's. Takes (dict "of" "agents.core.sources" "mounts" LIST). */}}
{{- define "bailiwick.checkMounts" -}}
{{- $of := .of -}}
{{- $seen := dict -}}
{{- range $mount := .mounts -}}
{{- $path := $mount.mountPath -}}
{{- if hasKey $seen $path -}}
{{- fail (printf "%s: two of them have the mountPath %s" $of $path) -}}
{{- end -}}
{{- $_ := set $seen $path true -}}
{{- range $own := list "/var/lib/bailiwick/" "/etc/bailiwick/" -}}
{{- if or (hasPrefix $own (printf "%s/" $path)) (hasPrefix (printf "%s/" $path) $own) -}}
{{- fail (printf "%s: the mountPath %s is where the agent's own files are" $of $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether there is a proxy: "yes", or nothing. Takes the values of an agent or of the collectors. */}}
{{- define "bailiwick.proxied" -}}
{{- if and .proxy.address (ne .proxy.address "none") }}yes{{ end -}}
{{- end -}}

{{/* The agent's flags for its way out. Takes (dict "root" $ "of" "agents.core" "values" VALUES). */}}
{{- define "bailiwick.proxyArgs" -}}
{{- $p := .values.proxy -}}
{{- if include "bailiwick.proxied" .values -}}
- --proxy={{ $p.address }}
- --no-proxy={{ join "," (prepend $p.noProxy .root.Values.clusterDomain) }}
{{- if $p.existingSecret }}
- --proxy-credentials=/etc/bailiwick/proxy/{{ $p.key }}
{{- end }}
{{- else if $p.address -}}
- --proxy=none
{{- else if or $p.existingSecret $p.noProxy -}}
{{- fail (printf "%s.proxy: without its address nothing else of it means anything" .of) -}}
{{- end -}}
{{- end -}}

{{- define "bailiwick.proxyMount" -}}
{{- if and (include "bailiwick.proxied" .) .proxy.existingSecret -}}
- {name: proxy, mountPath: /etc/bailiwick/proxy, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "bailiwick.proxyVolume" -}}
{{- if and (include "bailiwick.proxied" .) .proxy.existingSecret -}}
- name: proxy
  secret:
    secretName: {{ .proxy.existingSecret }}
    defaultMode: 0440
    items:
      - {key: {{ .proxy.key }}, path: {{ .proxy.key }}}
{{- end -}}
{{- end -}}

{{/* Pod security level `restricted`, in every pod. `groups`: supplemental groups. */}}
{{- define "bailiwick.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
serviceAccountName: {{ include "bailiwick.serviceAccount" .root }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .root.Values.runAs.user }}
  runAsGroup: {{ .root.Values.runAs.group }}
  fsGroup: {{ .root.Values.runAs.group }}
  fsGroupChangePolicy: OnRootMismatch
  {{- with .groups }}
  supplementalGroups:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "bailiwick.containerSecurity" -}}
image: {{ include "bailiwick.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where a pod runs; takes the values of a component. */}}
{{- define "bailiwick.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Probes by gRPC on the plaintext port for them. A start that has to read much back may take half an hour. */}}
{{- define "bailiwick.probes" -}}
startupProbe:
  grpc: {port: 7444}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 360
readinessProbe:
  grpc: {port: 7444}
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  grpc: {port: 7444}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
{{- end -}}

{{- define "bailiwick.claimTemplate" -}}
{{- $p := .persistence -}}
- metadata:
    name: data
    {{- with $p.annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    accessModes:
      {{- toYaml $p.accessModes | nindent 6 }}
    {{- with $p.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ $p.size }}
{{- end -}}

{{/* spec of a Service but ports; takes the values and `selector`. */}}
{{- define "bailiwick.service" -}}
type: {{ .type }}
{{- if eq .type "LoadBalancer" }}
{{- with .loadBalancerClass }}
loadBalancerClass: {{ . }}
{{- end }}
{{- with .loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A cert-manager Certificate; takes (dict "root" $ "name" NAME "uri" URI). */}}
{{- define "bailiwick.certificate" -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "bailiwick.labels" .root | nindent 4 }}
spec:
  secretName: {{ .name }}
  uris:
    - {{ .uri }}
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  usages: [digital signature, server auth, client auth]
  duration: {{ .root.Values.certManager.duration }}
  renewBefore: {{ .root.Values.certManager.renewBefore }}
  issuerRef:
    {{- toYaml .root.Values.certManager.issuerRef | nindent 4 }}
{{- end -}}

{{/* A certificate of cert-manager under the names that a context has. */}}
{{- define "bailiwick.adminItems" -}}
items:
  - {key: tls.crt, path: identity/cert.pem}
  - {key: tls.key, path: identity/key.pem}
  - {key: ca.crt, path: identity/ca.pem}
{{- end -}}

{{/* The deployer's context as one volume: context.yaml, identity/, keys/. */}}
{{- define "bailiwick.deployerVolume" -}}
{{- $d := .Values.deployer -}}
{{- $byCertManager := and .Values.certManager.enabled $d.identity.certManagerName -}}
- name: context
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ include "bailiwick.fullname" . }}-deployer
      - secret:
          {{- if $byCertManager }}
          name: {{ include "bailiwick.fullname" . }}-deployer-tls
          {{- include "bailiwick.adminItems" . | nindent 10 }}
          {{- else }}
          name: {{ required "deployer.identity.existingSecret names the Secret with the admin's cert.pem, key.pem and ca.pem" $d.identity.existingSecret }}
          items:
            - {key: cert.pem, path: identity/cert.pem}
            - {key: key.pem, path: identity/key.pem}
            - {key: ca.pem, path: identity/ca.pem}
          {{- end }}
      {{- with $d.policyKeys.existingSecret }}
      - secret:
          name: {{ . }}
          items:
            {{- range $d.policyKeys.keys }}
            - {key: {{ . }}, path: keys/{{ . }}}
            {{- end }}
      {{- end }}
{{- end -}}
