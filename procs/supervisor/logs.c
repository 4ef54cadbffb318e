/* logs.c - the children's output: one JSON line each into DATA/log, and a line
 * for people on the terminal where it matters. */
#include "procs/supervisor/supervisor.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weft/json.h"

#define LOG_MAX	       (16 << 20) /* then a new file begins; the one before is kept */
#define LINE_MAX_BYTES 8192	  /* longer ones are cut */

static const char *const levels[] = {
	[LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

int logs_open(struct supervisor *s, struct err *e)
{
	struct stat st;

	s->log = openat(s->dir.fd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (s->log < 0)
		return err_errno(e, errno, "open '%s/log'", s->dir.path);
	s->log_bytes = fstat(s->log, &st) == 0 ? st.st_size : 0;
	return 0;
}

static void rotate(struct supervisor *s)
{
	struct err e;

	if (s->log_bytes < LOG_MAX)
		return;
	if (renameat(s->dir.fd, "log", s->dir.fd, "log.1") < 0)
		return;
	close(s->log);
	if (logs_open(s, &e))
		s->log = -1;
}

static void write_line(struct supervisor *s, const char *process, pid_t pid, enum log_level level,
		       struct str message)
{
	struct buf out = {0};
	char when[28];

	time_format_micro(clock_wall_ns(), when);
	buf_printf(&out,
		   "{\"time\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"level\":\"%s\",\"message\":",
		   when, process, (int)pid, levels[level]);
	json_quote(&out, message);
	buf_puts(&out, "}\n");
	if (s->log >= 0 && write(s->log, out.p, out.n) > 0)
		s->log_bytes += (int64_t)out.n;
	rotate(s);
	buf_free(&out);
	if (level >= LOG_WARN && !s->quiet)
		fprintf(stderr, "weft: %s: %s: " STR_FMT "\n", levels[level], process,
			STR_ARG(message));
}

void logs_say(struct supervisor *s, enum log_level level, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	write_line(s, "supervisor", getpid(), level, str_of(text));
}

/* A line begins with its level when log_msg() wrote it; anything else comes
 * from a library or a sanitizer, and should be seen. */
static enum log_level take_level(struct str *line)
{
	for (int i = 0; i <= LOG_ERROR; i++) {
		uint32_t n = (uint32_t)strlen(levels[i]);

		if (line->n > n && memcmp(line->p, levels[i], n) == 0 && line->p[n] == ' ') {
			*line = (struct str){line->p + n + 1, line->n - n - 1};
			return (enum log_level)i;
		}
	}
	return LOG_WARN;
}

static void end_line(struct supervisor *s, struct child *c)
{
	struct str line = buf_str(&c->line);
	enum log_level level;
	char name[32];

	if (!line.n)
		return;
	level = take_level(&line);
	write_line(s, child_name(c, name), c->pid, level, line);
	c->line.n = 0;
}

void logs_end(struct supervisor *s, struct child *c)
{
	end_line(s, c);
	if (c->log_fd >= 0)
		close(c->log_fd);
	c->log_fd = -1;
}

void logs_read(struct supervisor *s, struct child *c)
{
	char bytes[4096];
	ssize_t n;

	while (c->log_fd >= 0 && (n = read(c->log_fd, bytes, sizeof(bytes))) != 0) {
		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				break;
			return;
		}
		for (ssize_t i = 0; i < n; i++) {
			if (bytes[i] == '\n')
				end_line(s, c);
			else if (c->line.n < LINE_MAX_BYTES)
				buf_putc(&c->line, bytes[i]);
		}
	}
	logs_end(s, c);
}
