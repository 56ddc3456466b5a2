#!/usr/bin/env bash
# The appliance's disk image: Debian's cloud kernel, this program as process 1, the hypervisor and its firmware. No shell, no
# loader of shared libraries, nothing else.
#
# It boots by BIOS and by UEFI: GRUB, whose whole configuration is in its core image, loads kernel and initramfs from the
# same partition both ways.
#
#   sector   1, 33 from the end   GPT
#   partition 1   GRUB's core image for BIOS
#   partition 2   FAT, label US-BOOT: /EFI/BOOT/BOOTX64.EFI, /vmlinuz, /initramfs
#   partition 3   squashfs, the root file system, and behind it the tree of its digests (dm-verity); its GPT name is understudy- and the
#                 beginning of that tree's root
#
# The initramfs has what it takes to find partition 3: the program, the modules of disks, and in /system that root, with which the kernel
# verifies each block that it reads, and the number of blocks. Everything is
# made without root and without loop devices, and from the same inputs the same bytes come out: times, owners, order, and
# identities are fixed.
#
# What is in it has to be what image/contents lists, and nothing else; the licences of all of it are in /licenses.
#
# usage: image/image.sh [DIR]      a directory with config.json and the keys and certificates that it names, to be baked in
# result: build/image/understudy.raw, the same as understudy.qcow2, and the bill of materials, understudy.spdx.json
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh
. image/modules.sh
. image/sources.sh
. image/packages.sh

export SOURCE_DATE_EPOCH=315619200 LC_ALL=C TZ=UTC
config=${1:-}
# What is baked in is what a drive would have: not ca.key. A configuration that could not work is refused.
[[ -z $config ]] || read -ra config_files < <(build/understudy config-drive "$config" --names) || die "$config cannot be baked in"
out=build/image
work=$out/work
most=$((32 << 20)) most_program=$((3 << 20)) # what is promised of the sizes of the image, and of the program
step_count=0
step_total=4

# Of the modules, those without which the root file system is not found; the others come from it. Those for devices are loaded where
# there is one: a driver, and what else is needed then.
boot_modules=(xen-blkfront squashfs dm-verity)
boot_devices=(virtio_blk virtio_scsi+sd_mod ahci+sd_mod ata_piix+sd_mod vmw_pvscsi+sd_mod hv_vmbus+hv_storvsc+sd_mod)
system_modules=(xen-netfront sr_mod isofs vfat nls_cp437 nls_ascii nls_utf8 qemu_fw_cfg button evdev tun bridge 8021q)
system_devices=(virtio_net vmxnet3 hv_vmbus+hv_netvsc+hv_utils ena gve ixgbevf mlx4_core+mlx4_en mlx5_core virtio-rng virtio_balloon i6300esb
	kvm-intel kvm-amd)

# A crash of process 1, or the kernel's, can be read for as long as panic= says, also where it comes again at each start.
command_line='console=tty0 console=ttyS0,115200 quiet loglevel=4 panic=60 ro lockdown=integrity module.sig_enforce=1 slab_nomerge
	init_on_alloc=1 page_alloc.shuffle=1 vsyscall=none debugfs=off'

# ---- the two file systems -----------------------------------------------------------------------------------------

# The root file system has to be there before.
make_initramfs() {
	local root=$work/initramfs
	mkdir -p "$root"/{dev,proc,sys,root,modules}
	cp build/understudy "$root/init"
	printf %s "$system_digest" >"$root/system"
	modules_copy build/kernel/modules "$root/modules" "${boot_modules[@]}"
	modules_for_devices build/kernel/modules "$root/modules" "${boot_devices[@]}"
	chmod -R u=rwX,go=rX "$root"
	find "$root" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
	(cd "$root" && find . -print0 | sort -z | cpio --null --quiet --reproducible -o -H newc -R 0:0) | zstd -19 -q -T1 >"$work/initramfs.img"
}

make_system() {
	local root=$work/system
	mkdir -p "$root"/{bin,dev,proc,sys,run,etc,data,modules,firmware}
	ln -s /run/resolv.conf "$root/etc/resolv.conf"
	printf '%s\n' root:x:0:0::/:/none understudy-qemu:x:64000:64000::/:/none >"$root/etc/passwd" # nobody logs in: as whom QEMU runs
	cp build/understudy "$root/bin/understudy"
	cp build/qemu/qemu-system-x86_64 "$root/bin/"
	cp build/qemu/firmware/* "$root/firmware/"
	modules_copy build/kernel/modules "$root/modules" "${system_modules[@]}"
	modules_for_devices build/kernel/modules "$root/modules" "${system_devices[@]}"
	make_licenses "$root/licenses"
	make_data "$root/data.ext4"
	chmod -R u=rwX,go=rX "$root"
	[[ -z $config ]] || install -Dm 600 -t "$root/config" "${config_files[@]/#/$config/}"
	mksquashfs "$root" "$work/system.squashfs" -all-root -comp zstd -Xcompression-level 15 -b 256K -no-xattrs -no-exports -processors 1 \
		-noappend -no-progress -quiet
	add_digests "$work/system.squashfs"
}

# Of whole blocks. system_digest: the root, and how many blocks there are without the tree.
add_digests() {
	local size root
	size=$(stat -c %s "$1")
	root=$(veritysetup format --no-superblock --format=1 --salt=- --hash=sha256 --data-block-size=4096 --hash-block-size=4096 \
		--hash-offset="$size" "$1" "$1" | sed -n 's/^Root hash:[[:space:]]*//p')
	((size % 4096 == 0 && ${#root} == 64)) || die "the root file system gets no digests"
	system_digest="$root $((size / 4096))"
	system_name=understudy-${root::24}
}

# Debian's texts refer to its common ones.
make_licenses() {
	local licenses=$1
	packages_complete
	mkdir "$licenses"
	packages_each packages_text
	cp -L /usr/share/common-licenses/{Apache-2.0,GPL-2,GPL-3,LGPL-2,LGPL-2.1,LGPL-3} "$licenses/"
}

# What an empty data disk gets: zeroes but for a few blocks, so that it costs nothing here. The kernel makes it as large as the disk is:
# up to 2 TiB in the room that is kept for that, and beyond it by other means of its own. What a file system would have by default
# is left to nobody's configuration.
make_data() {
	local label features=has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize
	features+=,metadata_csum,metadata_csum_seed,resize_inode
	label=$(sed -n 's/^#define CONFIG_DATA_LABEL "\(.*\)".*/\1/p' appliance/config.h)
	[[ -n $label ]] || die "appliance/config.h has no CONFIG_DATA_LABEL"
	printf '[fs_types]\next4 = {\ninode_size = 256\n}\n' >"$work/mke2fs.conf"
	truncate -s 48M "$1"
	MKE2FS_CONFIG=$work/mke2fs.conf E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 -T ext4 -O "none,$features" -b 4096 -N 512 \
		-m 0 -J size=16 -L "$label" -U 55534459-0000-4000-8000-000000000004 \
		-E hash_seed=55534459-0000-4000-8000-000000000004,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,resize=536870912 "$1"
}

# ---- what boots -----------------------------------------------------------------------------------------------------

# make_core FORMAT PREFIX SUFFIX WORDS MODULE...: GRUB with its commands: `linux` and `initrd` with that suffix, files from the partition that
# the prefix tells of, and WORDS more for the kernel.
make_core() {
	local format=$1 prefix=$2 suffix=$3 words=$4
	shift 4
	cat >"$work/grub.cfg" <<-END
		linux$suffix /vmlinuz $(tr -s '\n\t ' ' ' <<<"$command_line $words")
		initrd$suffix /initramfs
		boot
	END
	grub-mkimage -O "$format" -p "$prefix" -c "$work/grub.cfg" part_gpt fat "linux$suffix" "$@"
}

# By BIOS the kernel is entered by its 16-bit code, for which it is loaded to where it runs. Where it is entered by its 32-bit code, GRUB 2.06
# loads it elsewhere and copies all the memory that it asks for (55 MiB), byte by byte: 2 of the 9 seconds to a health endpoint under TCG.
# That code would ask the BIOS for the first sector of every disk (edd), and wait for one that does not answer.
make_grub() {
	make_core i386-pc '(,gpt2)/' 16 edd=off biosdisk >"$work/core.img"
	make_core x86_64-efi / '' '' >"$work/bootx64.efi"
}

make_esp() {
	local kib=$1 root=$work/esp
	mkdir -p "$root/EFI/BOOT"
	mv "$work/bootx64.efi" "$root/EFI/BOOT/BOOTX64.EFI"
	cp build/kernel/vmlinuz "$root/vmlinuz"
	mv "$work/initramfs.img" "$root/initramfs"
	find "$root" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
	rm -f "$work/esp.img"
	mkfs.fat -C -i 55535459 -n US-BOOT -S 512 -s 4 --invariant "$work/esp.img" "$kib" >/dev/null
	faketime -f '1980-01-02 00:00:00' mcopy -s -m -i "$work/esp.img" "$root/EFI" "$root/vmlinuz" "$root/initramfs" ::
}

# ---- the disk -------------------------------------------------------------------------------------------------------

# little_endian NUMBER BYTES
little_endian() {
	local i
	for ((i = 0; i < $2; i++)); do printf "\\x$(printf %02x $((($1 >> (8 * i)) & 255)))"; done
}

# put FILE SECTOR: into the image
put() { dd if="$1" of="$work/understudy.raw" bs=512 seek="$2" conv=notrunc status=none; }

# GRUB's boot.img goes to the first sector, up to the partition table; at 0x5c it has the sector where its core image
# begins. The first sector of that names the rest: at 0x1f4 its first sector, its length, and where it is loaded.
put_grub() {
	local first=$1
	head -c 440 /usr/lib/grub/i386-pc/boot.img | dd of="$work/understudy.raw" conv=notrunc status=none
	little_endian "$first" 8 | dd of="$work/understudy.raw" bs=1 seek=$((0x5c)) conv=notrunc status=none
	little_endian $((first + 1)) 8 | dd of="$work/core.img" bs=1 seek=$((0x1f4)) conv=notrunc status=none
	put "$work/core.img" "$first"
}

sectors() { echo $((($(stat -c %s "$1") + 1048575) / 1048576 * 2048)); }

assemble() {
	local bios=2048 esp system end
	esp=$((bios + $(sectors "$work/core.img")))
	system=$((esp + $(sectors "$work/esp.img")))
	end=$((system + $(sectors "$work/system.squashfs")))
	rm -f "$work/understudy.raw"
	truncate -s $(((end + 2048) * 512)) "$work/understudy.raw"
	sfdisk -q "$work/understudy.raw" <<-END
		label: gpt
		label-id: 55534459-0000-4000-8000-000000000000
		first-lba: 2048
		start=$bios, size=$((esp - bios)), type=21686148-6449-6E6F-744E-656564454649, uuid=55534459-0000-4000-8000-000000000001, name=understudy-bios
		start=$esp, size=$((system - esp)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=55534459-0000-4000-8000-000000000002, name=understudy-boot
		start=$system, size=$((end - system)), type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=55534459-0000-4000-8000-000000000003, name=$system_name
	END
	put "$work/esp.img" "$esp"
	put "$work/system.squashfs" "$system"
	put_grub "$bios"
	(($(stat -c %s "$work/understudy.raw") <= most)) || die "the image is larger than $((most >> 20)) MiB"
	qemu-img convert -f raw -O qcow2 "$work/understudy.raw" "$work/understudy.qcow2"
}

# ---- what is in it --------------------------------------------------------------------------------------------------

# A configuration that was baked in is its owner's.
look_into() {
	image/inspect.sh "$work/understudy.raw" "$work/files" | grep -v '^system [-d][-rwx]* config\(/\|$\)' >"$work/found"
	diff <(sed '/^#/d; s/^[^ ]* //' image/contents) "$work/found" >"$work/differences" ||
		die "not what image/contents lists (<: only there, >: only in the image):
$(grep '^[<>]' "$work/differences")"
	image/sbom.sh "$work/understudy.raw" "$work/files" >"$work/understudy.spdx.json"
}

(($(stat -c %s build/understudy) <= most_program)) || die "build/understudy is larger than $((most_program >> 20)) MiB"
[[ -z $config ]] || umask 077 # there are keys in it
rm -rf "$work" && mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
sources_here grub-pc-bin >build/image/grub
step_begin 'initramfs and system'
make_system
make_initramfs
step_end
step_begin 'boot loader and boot partition'
make_grub
make_esp $(((($(stat -c %s build/kernel/vmlinuz) + $(stat -c %s "$work/initramfs.img") + $(stat -c %s "$work/bootx64.efi")) / 1024 + 512) / 1024 * 1024 + 1024))
step_end
step_begin 'disk image'
assemble
step_end
step_begin 'what is in it'
look_into
mv "$work"/understudy.{raw,qcow2,spdx.json} "$out/"
step_end "$(($(stat -c %s "$out/understudy.raw") / 1024)) KiB"
