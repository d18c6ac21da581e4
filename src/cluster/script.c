#include "cluster/script.h"

#include <math.h>

long script_lead(double limit_s, double stop_s)
{
	return lround(fmin(limit_s / 4, fmax(60, 2 * stop_s + 30)));
}

static void line(struct str *out, const char *option, const char *value)
{
	if (*value)
		str_printf(out, "#SBATCH --%s=%s\n", option, value);
}

static void number(struct str *out, const char *option, long value)
{
	str_printf(out, "#SBATCH --%s=%ld\n", option, value);
}

static void header(const struct script *s, struct str *out)
{
	line(out, "job-name", s->name);
	line(out, "array", s->array);
	line(out, "time", s->time);
	str_add(out, "#SBATCH --nodes=1\n#SBATCH --ntasks=1\n");
	number(out, "cpus-per-task", s->cpus);
	str_printf(out, "#SBATCH --mem=%.0fM\n", ceil(s->memory_bytes / 1048576));
	if (s->gpus)
		str_printf(out, "#SBATCH --gres=gpu%s%s:%ld\n", *s->gpu_type ? ":" : "", s->gpu_type, s->gpus);
	line(out, "partition", s->partition);
	line(out, "account", s->account);
	line(out, "qos", s->qos);
	line(out, "constraint", s->constraint);
	/* A requeued task writes into the file of the one before it. */
	str_printf(out, "#SBATCH --output=\"%s/log/%%A_%%a.txt\"\n#SBATCH --open-mode=append\n", s->folder);
	str_printf(out, "#SBATCH --requeue\n#SBATCH --signal=B:USR1@%ld\n", s->lead_s);
	for (int i = 0; i < s->n_options; i++)
		str_printf(out, "#SBATCH %s\n", s->options[i]);
}

void script_text(const struct script *s, struct str *out)
{
	str_add(out, "#!/bin/bash\n");
	header(s, out);
	str_add(out, "\n# Draws runs of the list until none is left. Signals go to the program itself, which "
		"checkpoints\n# and puts its task back into the queue where work is left.\n");
	str_add(out, "cd");
	str_add_word(out, s->here);
	str_add(out, " || exit 4\n");
	for (int i = 0; i < s->n_setup; i++)
		str_printf(out, "%s\n", s->setup[i]);
	str_add(out, "exec");
	str_add_word(out, s->program);
	str_add(out, " task");
	str_add_word(out, s->folder);
	str_add(out, "\n");
}
