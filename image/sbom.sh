#!/usr/bin/env bash
# The image's bill of materials, in SPDX 2.3 as JSON, on standard output: the packages of image/packages with their versions, licences and
# sources, every file of the image with its checksums and whose it is, and what is linked into what. The same for the same image.
#
# usage: image/sbom.sh IMAGE DIR      DIR: the image's files, from inspect.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh
. image/sources.sh
. image/packages.sh

export LC_ALL=C
image=$1 files=$2
relations=()

# ---- JSON -----------------------------------------------------------------------------------------------------------

# object KEY VALUE...: a value is a string unless it is an array, an object or a truth. Nothing here needs quoting.
object() {
	local out=
	while (($#)); do
		case $2 in
		[\[{]* | true | false) out+=", \"$1\": $2" ;;
		*) out+=", \"$1\": \"$2\"" ;;
		esac
		shift 2
	done
	printf '{%s}' "${out#, }"
}

# item OBJECT: of an array, a line each; begin_array, end_array.
begin_array() {
	comma=
	printf '"%s": [\n' "$1"
}
item() {
	printf '%s  %s' "$comma" "$1"
	comma=$',\n'
}
end_array() { printf '\n]%s\n' "$1"; }

# An SPDX identifier has letters, digits, dots and dashes.
id_of() { printf 'SPDXRef-%s' "${1//[^a-zA-Z0-9.-]/-}"; }

checksum() { object algorithm "$1" checksumValue "$2"; }

relate() { relations+=("$(object spdxElementId "$1" relationshipType "$2" relatedSpdxElement "$3")"); }

# ---- packages -------------------------------------------------------------------------------------------------------

# A package's address (purl) as it writes a version.
purl() { printf 'pkg:deb/debian/%s@%s?arch=source' "$1" "$(sed 's/%/%25/g; s/+/%2B/g; s/:/%3A/g; s/~/%7E/g' <<<"$2")"; }

# What Debian has no source of is this program.
package() {
	local name=$1 in=$2 list=$3 package=$4 licence=$6 version fields part
	version=$(packages_version "$list" "$package")
	fields=(name "$name" SPDXID "$(id_of "package-$name")" versionInfo "$version" filesAnalyzed false
		licenseConcluded NOASSERTION licenseDeclared "$licence" copyrightText NOASSERTION)
	if [[ $list == - ]]; then
		fields+=(supplier NOASSERTION downloadLocation NOASSERTION)
	else
		fields_of_debian "$name" "$list" "$package" "$version"
	fi
	item "$(object "${fields[@]}")"
	[[ $in == - ]] || for part in ${in//,/ }; do relate "$(id_of "package-$part")" STATIC_LINK "$(id_of "package-$name")"; done
}

# The source is named by the machine's list; of the lock, it is the name, and the files that were used have checksums.
fields_of_debian() {
	local source=$1 version=$4 line
	line=$(packages_lines "$2" "$3")
	[[ -n $line ]] || die "$2 has no $3 (image/packages)"
	if [[ $(head -n 1 <<<"$line" | wc -w) == 3 ]]; then
		source=${line%% *}
	else
		fields+=(sourceInfo "$(awk '{ printf "%s%s, SHA-256 %s", (NR > 1 ? "; " : ""), $4, $3 }' <<<"$line")")
	fi
	fields+=(supplier 'Organization: Debian' downloadLocation "https://snapshot.debian.org/package/$source/$version/" externalRefs
		"[$(object referenceCategory PACKAGE-MANAGER referenceType purl referenceLocator "$(purl "$source" "$version")")]")
}

# The image is a package whose files have been looked at: SPDX's code for that is over their checksums.
package_image() {
	local code
	code=$(cut -d ' ' -f 1 <<<"$sha1" | sort | tr -d '\n' | sha1sum | cut -d ' ' -f 1)
	item "$(object name understudy-image SPDXID SPDXRef-image versionInfo "$(packages_version - -)" packageFileName "${image##*/}" \
		supplier NOASSERTION downloadLocation NOASSERTION filesAnalyzed true \
		packageVerificationCode "$(object packageVerificationCodeValue "$code")" checksums "[$(checksum SHA256 "$sum")]" \
		licenseConcluded NOASSERTION licenseDeclared NOASSERTION copyrightText NOASSERTION)"
	relate SPDXRef-DOCUMENT DESCRIBES SPDXRef-image
}

# ---- files ----------------------------------------------------------------------------------------------------------

# file WHOSE PATH SHA1 SHA256
file() {
	local id
	id=$(id_of "file-$2")
	item "$(object fileName "./$2" SPDXID "$id" checksums "[$(checksum SHA1 "$3"), $(checksum SHA256 "$4")]" \
		licenseConcluded NOASSERTION licenseInfoInFiles '["NOASSERTION"]' copyrightText NOASSERTION)"
	relate SPDXRef-image CONTAINS "$id"
	relate "$id" GENERATED_FROM "$(id_of "package-$1")"
}

# The regular files, "WHOSE PLACE/PATH", by path.
listed() { awk '$3 ~ /^-/ { print $1, $2 "/" $4 }' image/contents | sort -k 2; }

sum=$(sources_sum "$image")
owners=$(listed)
sha1=$(cut -d ' ' -f 2 <<<"$owners" | (cd "$files" && xargs -d '\n' sha1sum))
sha256=$(cut -d ' ' -f 2 <<<"$owners" | (cd "$files" && xargs -d '\n' sha256sum))

cat <<END
{
"spdxVersion": "SPDX-2.3",
"dataLicense": "CC0-1.0",
"SPDXID": "SPDXRef-DOCUMENT",
"name": "understudy-image",
"documentNamespace": "https://understudy.invalid/spdx/$sum",
"creationInfo": {"created": "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)", "creators": ["Tool: understudy-image-sbom"]},
END
begin_array packages
package_image
packages_each package
end_array ,
begin_array files
while read -r whose path first _ second _; do
	file "$whose" "$path" "$first" "$second"
done < <(paste -d ' ' <(printf '%s\n' "$owners") <(printf '%s\n' "$sha1") <(printf '%s\n' "$sha256"))
end_array ,
begin_array relationships
for relation in "${relations[@]}"; do item "$relation"; done
end_array ''
echo '}'
