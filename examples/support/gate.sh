#!/usr/bin/env bash
# Whether Azure can patch what is made from a version of a gallery image: a machine is made from it,
# assessed, judged by azpatch support, and deleted. The exit status is that of azpatch support: 0 if
# it can, 3 if it cannot, 4 if that is still not known.
#
#   gate.sh IMAGE_VERSION_ID RESOURCE_GROUP
#
# The Azure CLI is signed in. SUPPORT_MATRIX names the revision, PATIENCE the seconds to wait until
# Azure Resource Graph shows what the assessment detected.
set -euo pipefail

image=$1 group=$2 name=probe-$$
folder=$(mktemp -d)
cleanup() {
  az vm delete --resource-group "$group" --name "$name" --yes --force-deletion true || true
  rm -rf "$folder"
}
trap cleanup EXIT

az sig image-definition show --ids "${image%/versions/*}" >"$folder/definition.json"

how=(--admin-username probe --generate-ssh-keys)
if grep -qi '"osState": "specialized"' "$folder/definition.json"; then how=(--specialized true); fi
az vm create --resource-group "$group" --name "$name" --image "$image" "${how[@]}" \
  --os-disk-delete-option Delete --nic-delete-option Delete --public-ip-address "" >&2
az vm assess-patches --resource-group "$group" --name "$name" >&2

az vm get-instance-view --resource-group "$group" --name "$name" >"$folder/vm.json"
id=$(az vm show --resource-group "$group" --name "$name" --query id --output tsv)
row="patchassessmentresources
  | where type =~ 'microsoft.compute/virtualmachines/patchassessmentresults'
  | where tolower(id) startswith tolower('$id/') and properties.status !~ 'InProgress'
  | project found = tostring(properties.configurationStatus.vmGuestPatchReadiness.detectedVMGuestPatchSupportState),
      otherwise = iff(properties.status =~ 'Succeeded', 'Unknown', '')
  | project state = iff(isempty(found), otherwise, found)"
detected=
deadline=$((SECONDS + ${PATIENCE:-1800}))
while [[ -z $detected && $SECONDS -lt $deadline ]]; do
  detected=$(az rest --method post --url "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01" \
    --body "{\"query\": \"${row//$'\n'/ }\"}" --query 'data[0].state' --output tsv)
  [[ -n $detected ]] || sleep 15
done

azpatch support --revision "${SUPPORT_MATRIX:-2025-02}" --vm-json "$folder/vm.json" \
  --image-definition "$folder/definition.json" ${detected:+--detected "$detected"}
