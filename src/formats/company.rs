//! A value decodes in company exactly as it does alone: to the same row, or to the same reject.
//!
//! Good values are damaged (cut, flipped, doubled, joined, given to another schema, replaced) and decoded among
//! good ones of several writers.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::samples::{Memory, avro_decoder, decoded, encoded, every_type, every_value, rows};
use super::{AvroWriter, Decoder, DecoderSpec, EncoderSpec, Format, Reject, arrow_schema, avro_schema};

/// What happens to a good value.
#[derive(Debug, Clone)]
enum Damage {
    None,
    Cut(usize),
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Doubled,
    Joined(usize),
    /// The id of another schema (of Avro).
    Id(u8),
    Other(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => Just(Damage::None),
        2 => any::<usize>().prop_map(Damage::Cut),
        3 => (any::<usize>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        2 => (any::<usize>(), prop::collection::vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => Just(Damage::Doubled),
        1 => any::<usize>().prop_map(Damage::Joined),
        1 => (0..6_u8).prop_map(Damage::Id),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Damage::Other),
    ]
}

/// Which good value, and what happens to it.
fn company() -> impl Strategy<Value = Vec<(usize, Damage)>> {
    prop::collection::vec((any::<usize>(), damage()), 1..10)
}

fn damaged(good: &[Vec<u8>], choices: &[(usize, Damage)]) -> Vec<Vec<u8>> {
    let of = |(which, damage): &(usize, Damage)| {
        let mut value = good[which % good.len()].clone();
        let end = value.len();
        match damage {
            Damage::None => {}
            Damage::Cut(at) => value.truncate(at % (end + 1)),
            Damage::Flip(at, bit) => value[at % end] ^= bit,
            Damage::Insert(at, bytes) => {
                let at = at % (end + 1);
                value.splice(at..at, bytes.iter().copied());
            }
            Damage::Doubled => value.extend_from_within(..),
            Damage::Joined(other) => value.extend_from_slice(&good[other % good.len()]),
            Damage::Id(id) => value[4.min(end - 1)] = *id,
            Damage::Other(bytes) => value.clone_from(bytes),
        }
        value
    };
    choices.iter().map(of).collect()
}

/// Decodes all at once, twice, and each alone with a decoder of its own.
fn same_as_alone(open: impl Fn() -> Box<dyn Decoder>, values: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let alone: Vec<Result<RecordBatch, Reject>> = values
        .iter()
        .map(|value| {
            let mut one = decoded(open().as_mut(), &[value]);
            assert_eq!(one.rows.num_rows() + one.rejects.len(), 1);
            one.rejects.pop().map_or(Ok(one.rows), Err)
        })
        .collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let mut decoder = open();
    for _ in 0..2 {
        let together = decoded(decoder.as_mut(), &values);
        prop_assert_eq!(together.rows.num_rows() + together.rejects.len(), values.len());
        let (mut row, mut rejects) = (0, together.rejects.iter());
        for (index, alone) in alone.iter().enumerate() {
            match alone {
                Ok(alone) => {
                    prop_assert!(row < together.rows.num_rows(), "value {index} is refused: {:?}", together.rejects);
                    prop_assert_eq!(&together.rows.slice(row, 1), alone, "value {}", index);
                    row += 1;
                }
                Err(alone) => {
                    let reject = rejects.next();
                    let said = reject.map(|reject| (reject.index, reject.code, reject.reason.as_str()));
                    prop_assert_eq!(said, Some((index, alone.code, alone.reason.as_str())));
                }
            }
        }
    }
    Ok(())
}

/// The reader's schema, and older ones of the same subject: columns missing, narrower, in another order, more of them.
const READER: &str = r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"},{"name":"size","type":{"type":"enum","name":"S","symbols":["L","M","S"]},"default":"M"},{"name":"tags","type":{"type":"array","items":"string"},"default":[]},{"name":"price","type":["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}],"default":null},{"name":"at","type":{"type":"record","name":"P","fields":[{"name":"x","type":"double","default":0.5},{"name":"more","type":{"type":"map","values":["null","long"]},"default":{}}]},"default":{}}]}"#;
const WRITERS: &[(i32, &str, &[&str])] = &[
    (
        1,
        READER,
        &[
            r#"{"id":7,"size":"S","tags":["a","é"],"price":1.25,"at":{"x":1.5,"more":{"k":1,"l":null}}}"#,
            r#"{"id":-1,"size":"L","tags":[],"price":null,"at":{"x":-0.5,"more":{}}}"#,
        ],
    ),
    (2, r#"{"type":"record","name":"R","fields":[{"name":"id","type":"int"}]}"#, &[r#"{"id":300}"#, r#"{"id":-300}"#]),
    (
        3,
        r#"{"type":"record","name":"R","fields":[{"name":"gone","type":"string"},{"name":"tags","type":{"type":"array","items":"string"}},{"name":"id","type":"long"},{"name":"at","type":{"type":"record","name":"P","fields":[{"name":"x","type":"float"}]}}]}"#,
        &[r#"{"gone":"a long text","tags":["x"],"id":4611686018427387904,"at":{"x":2.5}}"#],
    ),
    (
        4,
        r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"},{"name":"size","type":{"type":"enum","name":"S","symbols":["S","XL"]}}]}"#,
        // The reader does not know an XL.
        &[r#"{"id":1,"size":"S"}"#, r#"{"id":2,"size":"XL"}"#],
    ),
    // The id, which the reader must have, is gone.
    (5, r#"{"type":"record","name":"R","fields":[{"name":"price","type":"null"}]}"#, &[r#"{"price":null}"#]),
];

fn written(id: i32, schema: &str, objects: &[&str]) -> Vec<Vec<u8>> {
    let rows = rows(arrow_schema(schema).unwrap(), objects);
    let avro = Some(AvroWriter { schema: schema.to_owned(), id });
    encoded(EncoderSpec { format: Format::Avro, schema: rows.schema(), avro }.open().unwrap().as_mut(), &rows)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn avro_of_several_writers_decodes_in_company_as_alone(choices in company()) {
        let registry = Memory::with(&WRITERS.iter().map(|(id, schema, _)| (*id, *schema)).collect::<Vec<_>>());
        let good: Vec<Vec<u8>> = WRITERS[..4].iter().flat_map(|(id, schema, objects)| written(*id, schema, objects)).collect();
        let mut good = good;
        good.push(vec![0, 0, 0, 0, 5]);
        same_as_alone(|| avro_decoder(registry.clone(), READER, None), &damaged(&good, &choices))?;
    }

    #[test]
    fn avro_of_every_type_decodes_in_company_as_alone(choices in company()) {
        let rows = rows(every_type(), &every_value());
        let schema = avro_schema(&rows.schema(), "Every", None, None).unwrap();
        let avro = Some(AvroWriter { schema: schema.clone(), id: 1 });
        let good = encoded(EncoderSpec { format: Format::Avro, schema: rows.schema(), avro }.open().unwrap().as_mut(), &rows);
        let registry = Memory::with(&[(1, &schema)]);
        same_as_alone(|| avro_decoder(registry.clone(), &schema, None), &damaged(&good, &choices))?;
    }

    #[test]
    fn json_of_every_type_decodes_in_company_as_alone(choices in company()) {
        let good = every_value().map(|value| value.as_bytes().to_vec());
        let schema = Arc::new(every_type());
        let open = || DecoderSpec { format: Format::Json, schema: schema.clone(), avro: None }.open().unwrap();
        same_as_alone(open, &damaged(&good, &choices))?;
    }

    #[test]
    fn csv_and_text_decode_in_company_as_alone(choices in company()) {
        let kept = ["int", "long", "double", "boolean", "string", "timestamp", "date"];
        let fields: Vec<_> = every_type().fields().iter().filter(|field| kept.contains(&field.name().as_str())).cloned().collect();
        let schema = Arc::new(Schema::new(fields));
        let csv = Format::Csv(super::CsvOptions { header: false, ..super::CsvOptions::default() });
        let rows = rows(schema.as_ref().clone(), &every_value());
        let good = encoded(EncoderSpec { format: csv.clone(), schema: schema.clone(), avro: None }.open().unwrap().as_mut(), &rows);
        let values = damaged(&good, &choices);
        same_as_alone(|| DecoderSpec { format: csv.clone(), schema: schema.clone(), avro: None }.open().unwrap(), &values)?;
        let text = super::value_columns(&Format::String, None, None).unwrap();
        same_as_alone(|| DecoderSpec { format: Format::String, schema: text.clone(), avro: None }.open().unwrap(), &values)?;
    }
}

#[test]
fn a_column_that_vanished_from_a_new_writer_is_named_with_the_schema_id() {
    let record = |fields: &[&str]| format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","));
    let id = r#"{"name":"id","type":"long"}"#;
    let label = r#"{"name":"label","type":["null","string"],"default":null}"#;
    let size = r#"{"name":"size","type":{"type":"enum","name":"S","symbols":["L","S"]},"default":"L"}"#;
    let (whole, bare, without) = (record(&[id, label, size]), record(&[id]), record(&[label, size]));
    let registry = Memory::with(&[(1, &whole), (2, &bare), (5, &without)]);
    let old = written(1, &whole, &[r#"{"id":7,"label":"x","size":"S"}"#]);
    let narrow = written(2, &bare, &[r#"{"id":300}"#]);
    let values: [&[u8]; 4] = [&old[0], &[0, 0, 0, 0, 5, 0, 0], &narrow[0], &old[0]];
    let decoded = decoded(avro_decoder(registry, &whole, None).as_mut(), &values);
    // Columns with a default may go: the second writer has nothing but the id.
    assert_eq!(decoded.rows.num_rows(), 3, "{:?}", decoded.rejects);
    let [reject] = &decoded.rejects[..] else { panic!("{:?}", decoded.rejects) };
    assert_eq!((reject.index, reject.code), (1, "avro.incompatible"));
    assert!(reject.reason.contains("schema id 5") && reject.reason.contains("id"), "{}", reject.reason);
}
