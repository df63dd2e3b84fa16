//! The part of SOQL that a connector reads back with: `SELECT f, … FROM Object WHERE f IN ('…') AND g = '…' LIMIT n`.

/// A query, read but not yet checked against the object's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub fields: Vec<String>,
    pub object: String,
    pub conditions: Vec<Condition>,
    pub limit: Option<usize>,
}

/// A field that must have one of some values; `None` is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub field: String,
    pub values: Vec<Option<String>>,
}

/// Reads a query.
///
/// # Errors
///
/// What was found and where, as the text of a `MALFORMED_QUERY`.
pub(crate) fn parse(text: &str) -> Result<Query, String> {
    Reader { text, at: 0 }.query()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn query(mut self) -> Result<Query, String> {
        self.word("SELECT")?;
        let fields = self.list(Self::name)?;
        self.word("FROM")?;
        let object = self.name()?;
        let mut conditions = Vec::new();
        if self.has_word("WHERE") {
            conditions.push(self.condition()?);
            while self.has_word("AND") {
                conditions.push(self.condition()?);
            }
        }
        let limit = if self.has_word("LIMIT") { Some(self.number()?) } else { None };
        self.skip_space();
        if self.rest().is_empty() { Ok(Query { fields, object, conditions, limit }) } else { Err(self.unexpected("the end of the query")) }
    }

    fn condition(&mut self) -> Result<Condition, String> {
        let field = self.name()?;
        let values = if self.has_word("IN") {
            self.mark('(')?;
            let values = self.list(Self::value)?;
            self.mark(')')?;
            values
        } else {
            self.mark('=')?;
            vec![self.value()?]
        };
        Ok(Condition { field, values })
    }

    fn list<T>(&mut self, one: fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut all = vec![one(self)?];
        while self.has_mark(',') {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn value(&mut self) -> Result<Option<String>, String> {
        if self.has_word("NULL") {
            return Ok(None);
        }
        self.mark('\'')?;
        let mut value = String::new();
        loop {
            match self.next() {
                Some('\'') => return Ok(Some(value)),
                Some('\\') => value.push(self.escape()?),
                Some(plain) if plain != '\n' && plain != '\r' => value.push(plain),
                Some(_) | None => return Err("line break or end of the query inside a text; close it with '".into()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        match self.next() {
            Some(same @ ('\'' | '"' | '\\' | '%' | '_')) => Ok(same),
            Some('n' | 'N') => Ok('\n'),
            Some('r' | 'R') => Ok('\r'),
            Some('t' | 'T') => Ok('\t'),
            Some('b' | 'B') => Ok('\u{8}'),
            Some('f' | 'F') => Ok('\u{c}'),
            Some('u') => {
                let digits = self.rest().get(..4).ok_or("Illegal character escape")?;
                self.at += 4;
                u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).ok_or_else(|| "Illegal character escape".into())
            }
            Some(_) | None => Err("Invalid string literal. Illegal character sequence after a backslash".into()),
        }
    }

    fn number(&mut self) -> Result<usize, String> {
        let word = self.peek_word();
        let number = word.parse().map_err(|_| self.unexpected("a number"))?;
        self.at += word.len();
        Ok(number)
    }

    fn name(&mut self) -> Result<String, String> {
        let word = self.peek_word();
        if word.is_empty() || word.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(self.unexpected("a name"));
        }
        self.at += word.len();
        Ok(word.into())
    }

    fn has_word(&mut self, wanted: &str) -> bool {
        let word = self.peek_word();
        let has = word.eq_ignore_ascii_case(wanted);
        self.at += if has { word.len() } else { 0 };
        has
    }

    fn word(&mut self, wanted: &str) -> Result<(), String> {
        if self.has_word(wanted) { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    fn has_mark(&mut self, wanted: char) -> bool {
        self.skip_space();
        let has = self.rest().starts_with(wanted);
        self.at += if has { wanted.len_utf8() } else { 0 };
        has
    }

    fn mark(&mut self, wanted: char) -> Result<(), String> {
        if self.has_mark(wanted) { Ok(()) } else { Err(self.unexpected(&wanted.to_string())) }
    }

    fn peek_word(&mut self) -> &'a str {
        self.skip_space();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn unexpected(&self, wanted: &str) -> String {
        let found: String = self.rest().trim_start().chars().take(20).collect();
        let found = if found.is_empty() { "<EOF>".into() } else { found };
        format!("unexpected token: '{found}' at column {}, expecting {wanted}", self.at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_back_query_reads() {
        let query =
            parse(r"select Id, Email,LastModifiedDate FROM Lead WHERE Ext__c IN ('a\'b', 'c\\\u00e9\n', null) and Email = 'x@y.z' LIMIT 5")
                .unwrap();
        assert_eq!(query.fields, ["Id", "Email", "LastModifiedDate"]);
        assert_eq!((query.object.as_str(), query.limit), ("Lead", Some(5)));
        assert_eq!(query.conditions[0].values, [Some("a'b".into()), Some("c\\é\n".into()), None]);
        assert_eq!(query.conditions[1], Condition { field: "Email".into(), values: vec![Some("x@y.z".into())] });
    }

    #[test]
    fn a_broken_query_is_refused() {
        for text in [
            "",
            "SELECT",
            "SELECT Id",
            "SELECT Id FROM",
            "SELECT Id, FROM Lead",
            "SELECT Id FROM Lead WHERE",
            "SELECT Id FROM Lead WHERE A IN ()",
            "SELECT Id FROM Lead WHERE A = 'b",
            "SELECT Id FROM Lead WHERE A = 'b\\",
            "SELECT Id FROM Lead WHERE A = 'b\\x'",
            "SELECT Id FROM Lead WHERE A = '\\u00é'",
            "SELECT Id FROM Lead WHERE A = b",
            "SELECT Id FROM Lead WHERE A = 'b' OR C = 'd'",
            "SELECT Id FROM Lead WHERE A = 'O'Neil'",
            "SELECT Id FROM Lead LIMIT x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
