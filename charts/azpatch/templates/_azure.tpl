{{- /* Endpoints of the Azure clouds, as "az cloud show" prints them. */ -}}
{{- define "azpatch.clouds" -}}
AzurePublic:
  armEndpoint: https://management.azure.com
  authorityHost: https://login.microsoftonline.com
AzureUSGovernment:
  armEndpoint: https://management.usgovcloudapi.net
  authorityHost: https://login.microsoftonline.us
AzureChina:
  armEndpoint: https://management.chinacloudapi.cn
  authorityHost: https://login.chinacloudapi.cn
{{- end }}

{{- define "azpatch.azureEnv" -}}
{{- $cloud := get (include "azpatch.clouds" . | fromYaml) .Values.azure.cloud -}}
- name: AZPATCH_ARM_ENDPOINT
  value: {{ default $cloud.armEndpoint .Values.azure.armEndpoint }}
- name: AZPATCH_AUTHORITY_HOST
  value: {{ default $cloud.authorityHost .Values.azure.authorityHost }}
{{- if .Values.azure.caConfigMap }}
- name: AZPATCH_CA_FILE
  value: /etc/azpatch/ca/ca.crt
{{- end }}
{{- end }}
