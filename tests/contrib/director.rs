//! The same commands as a configuration basket of Icinga Director, with a field for every option.

use super::icinga::{is_wanted, variable};
use super::options::{self, CHECKS, Check, Opt};
use serde_json::{Map, Value, json};

pub fn basket() -> String {
    let (mut commands, mut templates, mut fields) = (Map::new(), Map::new(), Map::new());
    for check in CHECKS {
        let options: Vec<_> = options::of(check).into_iter().filter(is_wanted).collect();
        let mut ids = Vec::new();
        for option in &options {
            let id = fields.len() + 1;
            fields.insert(id.to_string(), field(&check, option));
            ids.push(json!({"datafield_id": id, "is_required": "n", "var_filter": null}));
        }
        let arguments: Map<_, _> =
            options.iter().map(|option| (option.long().to_owned(), argument(&check, option))).collect();
        commands.insert(
            check.short().to_owned(),
            json!({
                "arguments": arguments,
                "command": format!("/usr/lib/nagios/plugins/{}", check.name()),
                "disabled": false,
                "fields": ids,
                "imports": [],
                "is_string": null,
                "methods_execute": "PluginCheck",
                "object_name": check.short(),
                "object_type": "object",
                "timeout": "60",
                "vars": {},
                "zone": null,
            }),
        );
        let name = format!("connleak {}", check.short());
        templates.insert(
            name.clone(),
            json!({
                "check_command": check.short(),
                "check_interval": 60,
                "retry_interval": 30,
                "max_check_attempts": 3,
                "disabled": false,
                "fields": [],
                "imports": [],
                "object_name": name,
                "object_type": "template",
                "vars": {},
                "zone": null,
            }),
        );
    }
    let basket = json!({"Command": commands, "ServiceTemplate": templates, "Datafield": fields});
    serde_json::to_string_pretty(&basket).unwrap() + "\n"
}

fn argument(check: &Check, option: &Opt) -> Value {
    let variable = format!("${}$", variable(check, option));
    let mut argument = json!({"description": option.description});
    if option.is_switch() {
        argument["set_if"] = json!(variable);
    } else {
        argument["value"] = json!(variable);
    }
    if option.is_repeated() {
        argument["repeat_key"] = json!(true);
    }
    argument
}

fn field(check: &Check, option: &Opt) -> Value {
    let kind = match (option.is_switch(), option.is_repeated()) {
        (true, _) => "Boolean",
        (_, true) => "Array",
        _ => "String",
    };
    let settings = if kind == "String" { json!({"visibility": "visible"}) } else { json!({}) };
    json!({
        "varname": variable(check, option),
        "caption": format!("{} {}", check.name(), option.long()),
        "description": option.description,
        "datatype": format!("Icinga\\Module\\Director\\DataType\\DataType{kind}"),
        "format": null,
        "settings": settings,
    })
}
