// SPDX-License-Identifier: Apache-2.0
/*
 * connect_load CGROUP NETNS CPU: connects from inside a pod, as fast as they go.
 *
 * Enters the cgroup and the network namespace, stays on one CPU, and then obeys lines on stdin:
 *   udp|tcp|new FIRST COUNT TIMES
 * TIMES connects to port 80 of addresses picked at random from the COUNT addresses after FIRST; the answer on stdout is
 * the CPU time of one of them in nanoseconds. No address has a route, so the kernel gives up right after the hook: what is
 * left is the system call and the hook. "udp" and "tcp" use one socket for all, "new" a TCP socket for each.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void enter(const char *cgroup, const char *netns, int cpu)
{
	FILE *procs = fopen(cgroup, "w");
	int fd = open(netns, O_RDONLY);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	check(procs && fprintf(procs, "%d", getpid()) > 0 && fclose(procs) == 0, cgroup);
	check(fd >= 0 && setns(fd, CLONE_NEWNET) == 0, netns);
	check(sched_setaffinity(0, sizeof(set), &set) == 0, "sched_setaffinity");
}

static double connects(int type, int fresh, uint32_t first, uint32_t count, long times)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(80) };
	struct timespec start, end;
	uint32_t random = 2463534242u;
	int fd = socket(AF_INET, type, 0);

	check(fd >= 0, "socket");
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	for (long n = 0; n < times; n++) {
		random ^= random << 13, random ^= random >> 17, random ^= random << 5;
		to.sin_addr.s_addr = htonl(first + random % count);
		if (fresh)
			close(fd), fd = socket(AF_INET, type, 0);
		check(connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0,
		      "a connect that has a route");
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	close(fd);
	return ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / times;
}

int main(int argc, char **argv)
{
	char how[4], first[16];
	unsigned int count;
	long times;

	check(argc == 4, "usage: connect_load CGROUP_PROCS NETNS CPU");
	enter(argv[1], argv[2], atoi(argv[3]));
	while (scanf("%3s %15s %u %ld", how, first, &count, &times) == 4) {
		int type = strcmp(how, "udp") ? SOCK_STREAM : SOCK_DGRAM;

		printf("%.1f\n",
		       connects(type, !strcmp(how, "new"), ntohl(inet_addr(first)), count, times));
		fflush(stdout);
	}
	return 0;
}
