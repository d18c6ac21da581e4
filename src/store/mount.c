#include "store/mount.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

const char *mount_table = "/proc/self/mountinfo";

static bool type_is_local(const char *type)
{
	static const char *const local[] = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs",
		"tmpfs", "overlay", "bcachefs"};

	return str_index(type, local, ARRAY_SIZE(local)) >= 0;
}

static bool is_below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	if (!strcmp(folder, "/"))
		return true;
	return !strncmp(path, folder, n) && (path[n] == '/' || path[n] == '\0');
}

/* Mountinfo writes blank, tab, line feed and backslash as \ooo. */
static void unescape(char *s)
{
	char *out = s;
	unsigned code;

	while (*s) {
		if (s[0] == '\\' && sscanf(s + 1, "%3o", &code) == 1) {
			*out++ = (char)code;
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* A line is: id parent device root FOLDER options [optional...] - TYPE source options */
static bool parse_mount(char *line, char **folder, char **type)
{
	char *rest = strstr(line, " - "), *save;

	if (!rest)
		return false;
	*rest = '\0';
	*type = strtok_r(rest + 3, " \n", &save);
	strtok_r(line, " ", &save);
	for (int i = 0; i < 3; i++)
		strtok_r(NULL, " ", &save);
	*folder = strtok_r(NULL, " ", &save);
	if (!*type || !*folder)
		return false;
	unescape(*folder);
	return true;
}

bool mount_is_local(const char *path, const char *mountinfo)
{
	FILE *f = fopen(mountinfo ? mountinfo : mount_table, "re");
	char *real = realpath(path, NULL), *line = NULL, *folder, *type;
	size_t size = 0, longest = 0;
	bool local = true;

	while (f && getline(&line, &size, f) > 0) {
		if (!parse_mount(line, &folder, &type) || !is_below(real ? real : path, folder))
			continue;
		if (strlen(folder) < longest)	/* of equal ones, the later covers the earlier */
			continue;
		longest = strlen(folder);
		local = type_is_local(type);
	}
	if (f)
		fclose(f);
	free(line);
	free(real);
	return local;
}
