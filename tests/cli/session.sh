#!/usr/bin/env bash
# A session with Microsoft's Azure CLI against a running azsim. Nothing in it knows that this is
# not Azure, but for the cloud that it registers first.
#
# Needs: azsim serving fleet.yaml of this folder at --pace 600, the lines of its --env-file,
# AZ_PYTHON (an interpreter that has azure-cli) and AZURE_CONFIG_DIR (an empty folder). Prints each
# command and what it answered.
set -euo pipefail

# The second principal of fleet.yaml, which may read one group.
READER_CLIENT_ID=c11e0000-0000-4000-8000-00000000c222
READER_CLIENT_SECRET=not-a-secret-either

export REQUESTS_CA_BUNDLE="$AZSIM_CA_FILE"
export AZURE_CORE_NO_COLOR=1 AZURE_CORE_COLLECT_TELEMETRY=0 AZURE_CORE_ONLY_SHOW_ERRORS=1
export AZURE_CORE_INSTANCE_DISCOVERY=false AZURE_CORE_OUTPUT=json

az() { "$AZ_PYTHON" -sm azure.cli "$@"; }

# Prints a command as a person would have typed it, then runs it.
run() {
  printf '$ az'
  printf ' %s' "$@" | sed "s#$READER_CLIENT_SECRET#SECRET#; s#$AZURE_CLIENT_SECRET#SECRET#"
  printf '\n'
  az "$@" 2>&1 || printf '(exit %s)\n' "$?"
  printf '\n'
}

graph() {
  run rest --method post --url "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01" \
    --body "{\"query\": \"$1\"}"
}

run cloud register --name azsim --endpoint-resource-manager "$AZSIM_ARM_ENDPOINT"
run cloud set --name azsim
run login --service-principal --username "$AZURE_CLIENT_ID" --password "$AZURE_CLIENT_SECRET" \
  --tenant "$AZURE_TENANT_ID"
run account list --query '[].{name: name, state: state}'
run group list --query '[].{name: name, location: location}'

run vm list --query '[].{name: name, group: resourceGroup, zones: zones}'
run vm list --resource-group rg-legacy --query '[].{name: name, os: storageProfile.osDisk.osType}'
run vm show --resource-group rg-web --name web-1 --show-details
run vm show --resource-group rg-web --name nowhere
run vm get-instance-view --resource-group rg-web --name web-1 --query instanceView
run vm get-instance-view --resource-group rg-web --name web-2 --query instanceView.statuses
run sig image-definition show --resource-group rg-images --gallery-name golden \
  --gallery-image-definition web

run feature list --namespace Microsoft.Compute
run feature register --namespace Microsoft.Compute --name VMGuestPatchGalleryImageOfTheSession
sleep 3
run feature show --namespace Microsoft.Compute --name VMGuestPatchGalleryImageOfTheSession

run vm assess-patches --resource-group rg-web --name web-1
graph "patchassessmentresources | where type has 'patchassessmentresults' and type !has 'softwarepatches' | project id, status = properties.status, support = properties.configurationStatus.vmGuestPatchReadiness.detectedVMGuestPatchSupportState, counts = properties.availablePatchCountByClassification | order by id asc"
run vm install-patches --resource-group rg-web --name web-1 --maximum-duration PT2H \
  --reboot-setting IfRequired --classifications-to-include-linux Critical Security \
  --package-name-masks-to-exclude 'linux-*'
run vm get-instance-view --resource-group rg-web --name web-1 --query instanceView.patchStatus
graph "patchinstallationresources | where type has 'softwarepatches' | project name = tostring(properties.patchName), state = tostring(properties.installationState) | order by name asc"
graph "resources | summarize machines = count() by resourceGroup | wherever"

run login --service-principal --username "$READER_CLIENT_ID" --password "$READER_CLIENT_SECRET" \
  --tenant "$AZURE_TENANT_ID" --query '[].name'
run vm assess-patches --resource-group rg-web --name web-1
graph "resources | project name | order by name asc"
