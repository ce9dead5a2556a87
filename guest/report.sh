# SPDX-License-Identifier: GPL-2.0-only
#
# Sourced by jobs. A report is made of sections: "@section NAME", what a command
# wrote, "@status N". The empty lines end a line that the command left open.

# section NAME COMMAND...: runs the command as a section of the report
section() {
	section_name=$1
	shift
	printf '\n@section %s\n' "$section_name"
	"$@"
	printf '\n@status %s\n' $?
}

# try COMMAND...: up to the first that fails, with all that it runs in the report
try() {
	(set -ex; "$@") 2>&1
}
