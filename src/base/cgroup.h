/*
 * What control groups (containers, batch systems, systemd) leave to this process: version 1 and 2,
 * its own group and all groups above it. Format: cgroups(7) and the kernel's admin-guide/cgroup-v2.
 */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

struct cgroup {				/* INFINITY: no limit */
	double cores;			/* CPU time per time */
	double memory_bytes;		/* limit */
	double free_bytes;		/* of it, not in use; page cache that can be dropped is free */
};

/* mount: "/sys/fs/cgroup"; groups: "/proc/self/cgroup". What cannot be read is no limit. */
void cgroup_read(const char *mount, const char *groups, struct cgroup *c);

/* The number behind `key` in a file of lines "key 12" or "key: 12 kB"; NAN if there is none. */
double keyed_number(const char *path, const char *key);

#endif
