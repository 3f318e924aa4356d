//! Ready-made schemas by name: those of Confluent's connector, whose data for a seed they give.
//!
//! They stand as files under `schemas/quickstarts/` and are part of the program.

use crate::registry::avro::Schema;

/// A ready-made schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quickstart {
    pub name: &'static str,
    /// The field that the connector takes as a record's key.
    pub key_field: &'static str,
    text: &'static str,
}

impl Quickstart {
    /// The one of this name, in upper or lower case.
    pub fn find(name: &str) -> Option<&'static Quickstart> {
        QUICKSTARTS.iter().find(|quickstart| quickstart.name.eq_ignore_ascii_case(name))
    }

    pub fn schema(&self) -> Schema {
        Schema::parse(self.text).expect("the ready-made schemas are tested")
    }
}

macro_rules! quickstarts {
    ($($name:literal $key_field:literal)*) => {
        /// In the order in which the connector's error message names them.
        pub const QUICKSTARTS: &[Quickstart] = &[$(Quickstart {
            name: $name,
            key_field: $key_field,
            text: include_str!(concat!("../../../schemas/quickstarts/", $name, ".avsc")),
        }),*];
    };
}

quickstarts! {
    "clickstream_codes" "code"
    "clickstream" "ip"
    "clickstream_users" "user_id"
    "orders" "orderid"
    "ratings" "rating_id"
    "users" "userid"
    "users_" "userid"
    "pageviews" "viewtime"
    "stock_trades" "symbol"
    "inventory" "id"
    "product" "id"
    "purchases" "id"
    "transactions" "transaction_id"
    "stores" "store_id"
    "credit_cards" "card_id"
    "campaign_finance" "candidate_id"
    "fleet_mgmt_description" "vehicle_id"
    "fleet_mgmt_location" "vehicle_id"
    "fleet_mgmt_sensors" "vehicle_id"
    "pizza_orders" "store_id"
    "pizza_orders_completed" "store_id"
    "pizza_orders_cancelled" "store_id"
    "insurance_offers" "offer_id"
    "insurance_customers" "customer_id"
    "insurance_customer_activity" "activity_id"
    "gaming_games" "id"
    "gaming_players" "player_id"
    "gaming_player_activity" "player_id"
    "payroll_employee" "employee_id"
    "payroll_employee_location" "employee_id"
    "payroll_bonus" "employee_id"
    "syslog_logs" "host"
    "device_information" "device_ip"
    "siem_logs" "hostname"
    "shoes" "id"
    "shoe_customers" "id"
    "shoe_orders" "order_id"
    "shoe_clickstream" "product_id"
}
