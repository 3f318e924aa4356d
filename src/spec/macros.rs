//! The declarations of the language: one text gives the type, its reader and its JSON Schema.

/// Declares a struct of options. A doc comment becomes the reference text.
///
/// Fields of type `Option<T>` may be missing, and so may those with a default; all others are
/// required unless `T::missing` says otherwise.
///
/// ```
/// runner::options! {
///     /// Options of `console:`.
///     pub struct Console {
///         /// Print only the first rows. Default: all. Example: `limit: 20`.
///         pub limit: Option<u64>,
///         /// Print the names of the columns. Default: true.
///         pub header: bool = true,
///         /// Print only these. A key that is no Rust name.
///         pub filter as "where": Option<String>,
///     }
/// }
/// ```
#[macro_export]
macro_rules! options {
    (
        $(#[$($meta:tt)*])*
        pub struct $name:ident {
            $( $(#[$($doc:tt)*])* pub $field:ident $(as $key:literal)? : $type:ty $(= $default:expr)? ),* $(,)?
        }
        $( exactly one of $( $one:literal ),+ )?
    ) => {
        $(#[$($meta)*])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $( $(#[$($doc)*])* pub $field: $type ),* }

        impl $crate::spec::Options for $name {
            fn read_keys(
                map: &mut $crate::spec::MapReader<'_>,
                out: &mut $crate::report::Diagnostics,
            ) -> Option<Self> {
                let _ = (&map, &out);
                $( let $field: Option<$type> = map.read_or(
                    $crate::option_key!($field $(as $key)?),
                    $crate::option_default!($type $(= $default)?),
                    out,
                ); )*
                Some($name { $( $field: $field? ),* })
            }

            fn describe_keys(
                object: &mut $crate::spec::ObjectSchema,
                generator: &mut schemars::SchemaGenerator,
            ) {
                let _ = &generator;
                $( object.property(
                    $crate::option_key!($field $(as $key)?),
                    <$type as $crate::spec::FromNode>::schema(generator),
                    &[$( $crate::doc_line!($($doc)*) ),*],
                    $crate::option_default!($type $(= $default)?)
                        .map(|make: fn() -> $type| make())
                        .or_else(<$type as $crate::spec::FromNode>::missing)
                        .is_none(),
                ); )*
                object.text(&[$( $crate::doc_line!($($meta)*) ),*]);
                $( object.exactly_one_of(&[$( $one ),+]); )?
            }
        }

        impl $crate::spec::FromNode for $name {
            fn from_node(node: &$crate::spec::Node, out: &mut $crate::report::Diagnostics) -> Option<Self> {
                let mut map = $crate::spec::MapReader::new(node, out)?;
                let read = <Self as $crate::spec::Options>::read_keys(&mut map, out);
                map.finish(out);
                read
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            // Two rooms may have options of the same name.
            fn schema_id() -> std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($name)).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut object = $crate::spec::ObjectSchema::default();
                <Self as $crate::spec::Options>::describe_keys(&mut object, generator);
                object.finish()
            }
        }
    };
}

/// Declares an enum of words: reader, texts and JSON Schema from one place.
///
/// Words behind `later` are known but come with a later release; using one is an error that says so.
#[macro_export]
macro_rules! words {
    (
        $(#[$($meta:tt)*])*
        pub enum $name:ident { $( $(#[$($doc:tt)*])* $variant:ident = $word:literal ),* $(,)? }
        $( later $( $later:literal ),+ )?
    ) => {
        $(#[$($meta)*])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$($doc)*])* $variant ),* }

        impl $name {
            /// All words, in the order of the reference.
            pub const WORDS: &'static [&'static str] = &[$( $word ),*];

            /// The word as written.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word ),* }
            }
        }

        impl $crate::spec::FromNode for $name {
            fn from_node(node: &$crate::spec::Node, out: &mut $crate::report::Diagnostics) -> Option<Self> {
                match node.as_str() {
                    $( Some($word) => Some($name::$variant), )*
                    _ => $crate::spec::wrong_word(node, Self::WORDS, &[$( $( $later ),+ )?], out),
                }
            }

            fn schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::spec::word_schema(&[$( ($word, &[$( $crate::doc_line!($($doc)*) ),*]) ),*])
            }
        }
    };
}

/// The key of an option: the field's name, unless it says otherwise.
#[doc(hidden)]
#[macro_export]
macro_rules! option_key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident as $key:literal) => {
        $key
    };
}

/// What an option is without its key, if it says so.
#[doc(hidden)]
#[macro_export]
macro_rules! option_default {
    ($type:ty) => {
        None::<fn() -> $type>
    };
    ($type:ty = $default:expr) => {
        Some((|| $default) as fn() -> $type)
    };
}

/// The text of a doc attribute; of any other attribute nothing.
#[doc(hidden)]
#[macro_export]
macro_rules! doc_line {
    (doc = $text:literal) => {
        $text
    };
    ($($other:tt)*) => {
        ""
    };
}
