/*
 * selector_parse.c - a query's labelSelector:
 *
 *   selector    = [ requirement { "," requirement } ]
 *   requirement = [ "!" ] key | key ( "=" | "==" | "!=" | "<" | ">" ) [ value ]
 *               | key ( "in" | "notin" ) "(" [ value ] { "," [ value ] } ")"
 *
 * The words of errors are Kubernetes': clients show them.
 */
#include "go_text.h"
#include "label_syntax.h"
#include "selector.h"

enum token {
	T_END,
	T_WORD,
	T_OPEN,
	T_CLOSE,
	T_COMMA,
	T_NOT,
	T_EQUALS,
	T_DOUBLE_EQUALS,
	T_NOT_EQUALS,
	T_GREATER,
	T_LESS,
	T_IN,
	T_NOT_IN,
};

static const struct {
	const char *text;
	enum token token;
} fixed[] = {
	{"==", T_DOUBLE_EQUALS}, {"!=", T_NOT_EQUALS}, {"(", T_OPEN},
	{")", T_CLOSE},		 {",", T_COMMA},       {"!", T_NOT},
	{"=", T_EQUALS},	 {">", T_GREATER},     {"<", T_LESS},
};

struct parser {
	zone *z;
	struct str text;
	uint32_t at;
	/* The token that comes next. */
	enum token token;
	struct str literal;
	struct str *message;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_special(char c)
{
	return c && strchr("=!(),><", c);
}

static void lex_special(struct parser *p)
{
	struct str rest = {p->text.p + p->at, p->text.n - p->at};

	for (size_t i = 0; i < countof(fixed); i++) {
		uint32_t n = (uint32_t)strlen(fixed[i].text);

		if (n <= rest.n && memcmp(rest.p, fixed[i].text, n) == 0) {
			p->token = fixed[i].token;
			p->literal = (struct str){rest.p, n};
			p->at += n;
			return;
		}
	}
}

static void lex_word(struct parser *p)
{
	uint32_t start = p->at;

	while (p->at < p->text.n && p->text.p[p->at] && !is_space(p->text.p[p->at]) &&
	       !is_special(p->text.p[p->at]))
		p->at++;
	p->literal = (struct str){p->text.p + start, p->at - start};
	p->token = str_eq(p->literal, STR("in"))      ? T_IN
		   : str_eq(p->literal, STR("notin")) ? T_NOT_IN
						      : T_WORD;
}

/* Read the next token.  A NUL ends the text. */
static void advance(struct parser *p)
{
	while (p->at < p->text.n && is_space(p->text.p[p->at]))
		p->at++;
	p->literal = (struct str){"", 0};
	if (p->at == p->text.n || !p->text.p[p->at])
		p->token = T_END;
	else if (is_special(p->text.p[p->at]))
		lex_special(p);
	else
		lex_word(p);
}

/* "in" and "notin" are words like others where no operator can stand. */
static bool at_word(const struct parser *p)
{
	return p->token == T_WORD || p->token == T_IN || p->token == T_NOT_IN;
}

static int fail(struct parser *p, const char *lead, const char *expected)
{
	*p->message =
		zone_printf(p->z, "%sfound '" STR_FMT "'%s", lead, STR_ARG(p->literal), expected);
	return WEFT_EINVAL;
}

#define IN_REQUIREMENT "unable to parse requirement: "

static int parse_key(struct parser *p, struct requirement *r)
{
	struct str why, quoted;

	r->op = OP_EXISTS;
	if (p->token == T_NOT) {
		r->op = OP_NOT_EXISTS;
		advance(p);
	}
	if (!at_word(p))
		return fail(p, IN_REQUIREMENT, ", expected: identifier");
	r->key = p->literal;
	why = label_key_problem(p->z, r->key);
	if (why.n) {
		quoted = go_quote(p->z, r->key);
		*p->message = zone_printf(
			p->z, IN_REQUIREMENT "<nil>: Invalid value: " STR_FMT ": " STR_FMT,
			STR_ARG(quoted), STR_ARG(why));
		return WEFT_EINVAL;
	}
	advance(p);
	return WEFT_OK;
}

static int parse_operator(struct parser *p, struct requirement *r)
{
	static const enum selector_op ops[] = {
		[T_IN] = OP_IN,
		[T_NOT_IN] = OP_NOT_IN,
		[T_EQUALS] = OP_EQUALS,
		[T_DOUBLE_EQUALS] = OP_DOUBLE_EQUALS,
		[T_NOT_EQUALS] = OP_NOT_EQUALS,
		[T_GREATER] = OP_GREATER,
		[T_LESS] = OP_LESS,
	};

	if (p->token < T_EQUALS)
		return fail(p, IN_REQUIREMENT, ", expected: in, notin, =, ==, !=, gt, lt");
	r->op = ops[p->token];
	advance(p);
	return WEFT_OK;
}

/* Values between parentheses; nothing between two commas is the empty value. */
static int parse_set(struct parser *p, struct requirement *r)
{
	bool after_comma = true;

	if (p->token != T_OPEN)
		return fail(p, IN_REQUIREMENT, " expected: '('");
	advance(p);
	if (p->token != T_CLOSE && p->token != T_COMMA && !at_word(p))
		return fail(p, IN_REQUIREMENT, ", expected: ',', ')' or identifier");
	for (; p->token != T_CLOSE; advance(p)) {
		if (p->token == T_COMMA && after_comma)
			requirement_value(p->z, r, STR(""));
		else if (at_word(p) && after_comma)
			requirement_value(p->z, r, p->literal);
		else if (p->token != T_COMMA)
			return fail(p, IN_REQUIREMENT,
				    after_comma ? ", expected: ',', or identifier"
						: ", expected: ',' or ')'");
		after_comma = p->token == T_COMMA;
	}
	if (after_comma)
		requirement_value(p->z, r, STR(""));
	advance(p);
	return WEFT_OK;
}

static int parse_value(struct parser *p, struct requirement *r)
{
	if (p->token == T_END || p->token == T_COMMA) {
		requirement_value(p->z, r, STR(""));
		return WEFT_OK;
	}
	if (!at_word(p))
		return fail(p, IN_REQUIREMENT, ", expected: identifier");
	requirement_value(p->z, r, p->literal);
	advance(p);
	return WEFT_OK;
}

static int parse_requirement(struct parser *p, struct kube_selector *s)
{
	struct requirement r = {.op = OP_EXISTS};
	struct str why;

	if (parse_key(p, &r) != WEFT_OK)
		return WEFT_EINVAL;
	if (r.op == OP_EXISTS && p->token != T_END && p->token != T_COMMA) {
		if (parse_operator(p, &r) != WEFT_OK)
			return WEFT_EINVAL;
		if ((r.op == OP_IN || r.op == OP_NOT_IN ? parse_set : parse_value)(p, &r) !=
		    WEFT_OK)
			return WEFT_EINVAL;
	}
	if (selector_add(p->z, s, &r, &why) == WEFT_OK)
		return WEFT_OK;
	*p->message = zone_printf(p->z, IN_REQUIREMENT STR_FMT, STR_ARG(why));
	return WEFT_EINVAL;
}

static int parse(struct parser *p, struct kube_selector *s)
{
	advance(p);
	if (p->token == T_END)
		return WEFT_OK;
	if (!at_word(p) && p->token != T_NOT)
		return fail(p, "", ", expected: !, identifier, or 'end of string'");
	for (;;) {
		if (parse_requirement(p, s) != WEFT_OK)
			return WEFT_EINVAL;
		if (p->token == T_END)
			return WEFT_OK;
		if (p->token != T_COMMA)
			return fail(p, "", ", expected: ',' or 'end of string'");
		advance(p);
		if (!at_word(p) && p->token != T_NOT)
			return fail(p, "", ", expected: identifier after ','");
	}
}

int kube_selector_parse(zone *z, struct str text, struct kube_selector **out, struct str *message)
{
	struct parser p = {.z = z, .text = zone_str(z, text), .message = message};
	struct kube_selector *s = zone_alloc(z, sizeof *s);

	memset(s, 0, sizeof *s);
	if (parse(&p, s) != WEFT_OK)
		return WEFT_EINVAL;
	selector_sort(s);
	*out = s;
	return WEFT_OK;
}
