#ifndef FIXED
#include <stdlib.h> /* HERE */
#endif
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	return 1;
}
